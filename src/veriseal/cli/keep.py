"""The options that say whose signatures are kept, and what is told about them."""

import argparse
from collections.abc import Iterator

from veriseal import certificate, pem
from veriseal.build import files
from veriseal.build.keep import Keep
from veriseal.build.release import Listed
from veriseal.build.scan import Node
from veriseal.certificate import Certificate
from veriseal.errors import UsageError, printable
from veriseal.signers import Signed

EPILOG = """\
With --keep and --keep-cert, a file that an earlier release has as it is keeps its signature: where
that release is installed the file needs no fresh copy, as long as the certificate is enrolled.
What has no good signature there is signed anew.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add ``--keep`` and ``--keep-cert``."""
    group = parser.add_argument_group("signatures of earlier releases")
    group.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="DIR",
        help="what the earlier veriseal build wrote; can be repeated",
    )
    group.add_argument(
        "--keep-cert",
        action="append",
        default=[],
        metavar="FILE",
        help="the certificate of signatures that are kept, PEM; can be repeated",
    )


def check_usage(options: argparse.Namespace) -> None:
    """Raise UsageError for one option without the other."""
    if bool(options.keep) != bool(options.keep_cert):
        raise UsageError("--keep, --keep-cert: each needs the other")


def of(options: argparse.Namespace, beside: Certificate) -> Keep:
    """What the options of `add` name; ``beside`` as in `Keep`. Raises OSError, VerisealError."""
    certificates = [
        certificate.load(files.read(path, pem.MAX_FILE_SIZE), path) for path in options.keep_cert
    ]
    return Keep(options.keep, certificates, beside)


class Tally:
    """Which files kept what."""

    def __init__(self, keep: Keep) -> None:
        self._places = keep.places
        # By number of the place and fingerprint of the signer.
        self._kept: dict[tuple[int, str], list[Node]] = {}
        self._bad = [0] * len(keep.places)

    def note(self, node: Node, listed: Listed) -> bool:
        """Take ``node`` into account. Whether it kept a signature."""
        for place in listed.bad:
            self._bad[place] += 1
        if listed.place is None or listed.signer is None:
            return False
        self._kept.setdefault((listed.place, listed.signer), []).append(node)
        return True

    def signed(self) -> Iterator[Signed]:
        """Each signer with the paths of what keeps its signature."""
        for (place, by), nodes in sorted(self._kept.items()):
            paths = tuple(path for node in nodes for path in node.paths)
            yield self._places[place].signers[by]._replace(paths=paths)

    def as_json(self) -> list[dict[str, object]]:
        """For ``--json``: an object for each ``--keep``."""
        return [
            {
                "directory": place.directory,
                "signers": [
                    {
                        "fingerprint": one.fingerprint,
                        "subject": one.subject,
                        "os": one.os,
                        "files": count,
                    }
                    for one, count in self._of(number)
                ],
                "not_good": self._bad[number],
            }
            for number, place in enumerate(self._places)
        ]

    def lines(self) -> Iterator[str]:
        """For people: a line or two for each ``--keep``."""
        for number, place in enumerate(self._places):
            name = printable(place.directory)
            said = [f"{count} signed by {printable(one.name)}" for one, count in self._of(number)]
            yield f"kept from {name}: {', '.join(said) or 'nothing'}"
            if self._bad[number]:
                yield (
                    f"signed anew, for the signature in {name} is not a good one by any "
                    f"--keep-cert: {self._bad[number]}"
                )

    def _of(self, number: int) -> list[tuple[Signed, int]]:
        return [
            (self._places[at].signers[by], len(nodes))
            for (at, by), nodes in sorted(self._kept.items())
            if at == number
        ]
