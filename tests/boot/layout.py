"""Where everything is in the appliance, and what its programs are called."""

from __future__ import annotations

from pathlib import Path

from tests.guest.store import REPO

FILES = Path(__file__).parent / "files"
KERNEL_DATA = REPO / "tests/kernel/data"
OS = "debian:13"
RELEASE = f"/usr/share/voa/{OS}/image/default/x509/release.pem"
MANIFEST = "usr/lib/veriseal/manifest"
BIN = "opt/kiosk/bin"
LIB = "opt/kiosk/lib"
ODD = "opt/kiosk/odd"
"""Files of the release that no closure is made for."""
STRANGER = "opt/stranger"
DATA = "var/lib/veriseal"
STRAY = f"{DATA}/stray"
"""Programs that are not the release's, where anybody may put files."""
OTHER = f"{DATA}/other"
"""Manifests that an attacker with the disk may have kept or made."""
SIGNATURES = f"{DATA}/signatures"
"""Of the strays."""
RELEASED = f"{DATA}/release"
"""What the build wrote."""

# Built from one source; each is a different file.
SIGNED = ("kiosk", "program", "poweroff", "changed")
LIBRARIES = ("greet", "other", "changed")
STRAY_SIGNED = ("not-listed", "other-signature", "damaged-signature", "old-program", "revoked")
STRAY_LIBRARY = "old-libgreet.so.1"
STRANGE, STRANGE_LIBRARY = "stranger", "strange-libgreet.so.1"
UNSIGNED = "no-signature"
PLAIN, PLAIN_LIBRARY = "no-verity", "plain-libgreet.so.1"
STRAY_PROGRAMS = (*STRAY_SIGNED, STRANGE, UNSIGNED, PLAIN)
STRAY_LIBRARIES = {"old": STRAY_LIBRARY, "strange": STRANGE_LIBRARY, "plain": PLAIN_LIBRARY}
"""What each says: its file."""
SCRIPTS = {
    f"{BIN}/script": "#!/bin/sh\necho script: up\n",
    f"{BIN}/reading-script": "#!/bin/sh\nread -r line || echo nothing to read\n",
    f"{BIN}/bash-script": "#!/bin/bash\necho bash-script: up\n",
    f"{BIN}/perl-script": '#!/usr/bin/perl\nuse strict;\nprint "perl-script: up\\n";\n',
    f"{BIN}/python-script": "#!/usr/bin/python3.13\nprint('python-script: up')\n",
    f"{BIN}/option-script": "#!/usr/bin/python3.13 -c\n",
    f"{BIN}/script-of-unsigned": f"#!/{STRAY}/{PLAIN}\n",
    f"{BIN}/script-by-env": "#!/usr/bin/env sh\necho evil\n",
    f"{BIN}/script-by-env-s": "#!/usr/bin/env -S sh -c\necho evil\n",
    f"{BIN}/script-of-long-line": f"#!/bin/sh {'x' * 300}\necho evil\n",
    f"{BIN}/script-of-relative": "#!sh\necho evil\n",
    f"{ODD}/text": "not a program\n",
}
