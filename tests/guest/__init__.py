"""Virtual machines for the tests: a Debian guest with a real kernel, started by QEMU."""
