"""Boot: the agent in the initrd. Imports nothing of `build` or `launch`."""
