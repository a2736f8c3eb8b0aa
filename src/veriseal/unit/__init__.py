"""systemd's service units, read as systemd reads them, and the launcher in front of theirs."""
