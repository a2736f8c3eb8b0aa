"""Tests that run as root in the guest, on a real kernel. See conftest for their order."""
