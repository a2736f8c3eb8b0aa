"""Measuring many files: only where the file system is known, for FUSE can answer anything."""

import errno

from veriseal.kernel import files, verity

_NO_VERITY = (errno.ENODATA, errno.ENOTTY, errno.EOPNOTSUPP)


class Measuring:
    """Asks each device once what its file system is."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def raw(self, fd: int, device: int) -> bytes | None:
        """As `verity.measure_raw`; None without verity, or where nobody can be asked.

        ``device`` is the st_dev of ``fd``. Raises OSError.
        """
        known = self._known.get(device)
        if known is None:
            known = self._known[device] = files.filesystem_type(fd) in files.WITH_VERITY
        if not known:
            return None
        try:
            return verity.measure_raw(fd)
        except OSError as error:
            if error.errno in _NO_VERITY:
                return None
            raise
