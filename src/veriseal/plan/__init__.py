"""Planning: what a change of trust would do, found before the reboot by the code of the boot."""
