"""Trust: which certificates count for this system, and why the others do not."""
