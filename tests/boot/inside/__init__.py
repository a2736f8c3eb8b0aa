"""What is tried inside the booted appliance. Runs there, with the standard library alone.

The host reads the same rows, so a row that reports nothing is a row that failed.
"""
