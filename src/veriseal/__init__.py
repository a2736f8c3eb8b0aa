"""Only programs signed for this release run, from the first process after the initrd on."""

__version__ = "0.1.0"
