"""Tests that need no root and no kernel feature."""
