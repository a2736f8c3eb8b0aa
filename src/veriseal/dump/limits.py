"""How large the fields of a tree list may be: in bytes, but for MAX_ENTRIES."""

# include/uapi/linux/limits.h. A path is a name, a link's target or a backing file, less the zero
# byte that ends it.
MAX_PATH = 4095
MAX_NAME = 255
MAX_XATTR_NAME = 255
MAX_XATTR_VALUE = 65536

# The names and values of one file. The kernel has no such limit; EROFS has half of it.
MAX_XATTRS = MAX_XATTR_NAME + MAX_XATTR_VALUE

# LCFS_INLINE_CONTENT_MAX, libcomposefs/lcfs-writer.h.
MAX_CONTENT = 5000

# Each byte as an escape of four, and room for the other fields and the spaces: an attribute, of
# which each has a byte at least, has two characters of its own.
MAX_LINE = 4 * (2 * MAX_PATH + MAX_CONTENT) + 6 * MAX_XATTRS + 1024

# Of a list: sixteen times the entries of a whole CentOS, thirty times its bytes.
MAX_ENTRIES = 1 << 20
MAX_SIZE = 1 << 28

# Of numbers: off_t and time_t; the kernel's counts and device numbers; owners, where (uid_t)-1 is
# nobody.
MAX_SIGNED = (1 << 63) - 1
MIN_SIGNED = -(1 << 63)
MAX_WORD = (1 << 32) - 1
MAX_OWNER = MAX_WORD - 1
