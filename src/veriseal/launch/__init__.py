"""Run: the launcher. Every import here is paid for at each start of a program."""
