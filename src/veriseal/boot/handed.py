"""What the firmware, the loader or the host can hand to another service's keyring, in the initrd.

systemd-keyring-setup(8) writes each credential ``keyring-setup.fs-verity.NAME`` as a certificate
below /run/voa and enrols what lies there; ``keyring-setup.os`` tells it under which names to look.
Nothing of that is part of the initrd, and nobody has signed it.
"""

import os
from collections.abc import Iterator

PREFIX = "keyring-setup."
CREDENTIALS = "/run/credentials"
"""A directory for each source (``@system``, ``@encrypted``, ``@initrd``) and for each service."""
STORES = ("/run/credstore", "/run/credstore.encrypted")
"""Where ImportCredential= looks besides, systemd.exec(5), as far as it is no part of the initrd."""
EPHEMERAL = "/run/voa"


def found(root: str = "/") -> list[str]:
    """Paths of such credentials and of files below /run/voa, sorted. Raises OSError."""
    places = [os.path.join(root, one.lstrip("/")) for one in (CREDENTIALS, *STORES, EPHEMERAL)]
    credentials, ephemeral = places[:-1], places[-1]
    return sorted(
        [
            *(
                path
                for place in credentials
                for path in _files(place)
                if os.path.basename(path).startswith(PREFIX)
            ),
            *_files(ephemeral),
        ]
    )


def _files(directory: str) -> Iterator[str]:
    """All that is no directory below ``directory``, or ``directory`` itself where it is none."""
    # A link leads wherever its maker wants: it counts as a file.
    if os.path.islink(directory):
        yield directory
        return
    try:
        entries = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        yield directory
        return
    for name in entries:
        yield from _files(os.path.join(directory, name))
