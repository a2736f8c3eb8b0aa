"""System calls, and nothing else: no policy is decided here."""
