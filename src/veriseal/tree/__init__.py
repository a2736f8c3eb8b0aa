"""A tree against its signed manifest: read the manifest, look at the tree, say what differs.

Used in the initrd and by `veriseal verify`. Imports nothing of `boot`, `launch` or `build`.
"""
