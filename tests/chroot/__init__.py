"""Tests that need Debian's dracut and kernel-install, but no kernel feature: see tests/boot."""
