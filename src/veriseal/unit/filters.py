"""SystemCallFilter=, as far as the launcher is concerned. Pure. Source: systemd.exec(5).

Sets are written down here only with what the launcher needs of them; `systemd-analyze
syscall-filter` lists them whole.
"""

from veriseal.unit.syntax import Assignment

_SETS = {
    "@basic-io": "close lseek pread64 read write",
    "@file-system": "access close fcntl fstat getdents64 newfstatat open openat readlink",
    "@process": "execveat",
    "@signal": "rt_sigaction rt_sigprocmask",
}
_ALONE = "ioctl mremap uname"
"""In no smaller set than @system-service."""
NEEDED = frozenset(name for members in (*_SETS.values(), _ALONE) for name in members.split())
"""What the launcher and its interpreter call to run a program, besides @default: as x86-64 names
them."""
_WHOLE = ("@system-service", "@known")


def missing(values: list[Assignment]) -> tuple[Assignment, list[str]] | None:
    """What the launcher needs and the filter forbids, and the assignment that decided."""
    if not values:
        return None
    allowing = not values[0].value.startswith("~")
    listed: set[str] = set()
    decided = values[0]
    for at in values:
        inverted = at.value.startswith("~")
        before = set(listed)
        for word in at.value.removeprefix("~").split():
            members = _members(word.partition(":")[0])
            if inverted == allowing:
                listed -= members
            else:
                listed |= members
        if listed != before:
            decided = at
    forbidden = NEEDED - listed if allowing else NEEDED & listed
    return (decided, sorted(forbidden)) if forbidden else None


def _members(word: str) -> set[str]:
    if word in _WHOLE:
        return set(NEEDED)
    return set(_SETS[word].split()) if word in _SETS else {word}
