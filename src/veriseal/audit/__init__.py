"""What has verity, who signed it, and what becomes of it when trust changes."""
