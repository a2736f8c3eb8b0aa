"""veriseal audit: what has verity, who signed it, and what becomes of it under other trust."""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from veriseal import certificate, manifest, pem, policy, resolve, voa
from veriseal.audit import expected as expecting
from veriseal.audit import files as audited
from veriseal.audit import summary, text
from veriseal.audit.expected import Expected
from veriseal.audit.fate import Judge
from veriseal.audit.files import Known
from veriseal.audit.summary import Summary
from veriseal.boot import gather
from veriseal.boot.gather import Gathered
from veriseal.build import files
from veriseal.cli.progress import Progress
from veriseal.errors import UsageError, VerisealError, path_of
from veriseal.pattern import Patterns
from veriseal.plan import ring
from veriseal.plan import side as roots
from veriseal.policy import Policy
from veriseal.tree import source
from veriseal.trust import survey
from veriseal.trust.model import TrustSet

_EPILOG = """\
TREE is an installed system (/), a mounted disk or an unpacked image. A file is needed if the
manifest demands verity of it; without a manifest, if it is signed. Findings come first, then how
many files there are, by release and by directory. With --to each file has two fates: today's, and
that under the other certificates, which decides the exit status.

Where the kernel refuses a file, the manifest says whose signature it is to have. Without verity
files are read, and their signatures are looked for in what --signatures names.

Where nobody can look at the trust statement, as its device is not mounted, what is said here holds
only if that statement allows it: the last line says so, the exit status does not.

exit status: 0 nothing needed is lost; 1 something is, or a trust set cannot be loaded; 2 wrong
usage
"""
_NOTHING = TrustSet([], [], [], {})


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("tree", metavar="TREE", help="the root directory of the tree")
    parser.add_argument(
        "--trust",
        metavar="ROOT",
        help="whose certificates and settings count today [TREE, if it has certificates; else /]",
    )
    parser.add_argument(
        "--to", metavar="ROOT", help="whose would count then, such as those of a staged tree"
    )
    parser.add_argument(
        "--manifest",
        metavar="DIR",
        help=f"what veriseal build wrote [TREE/{manifest.DIRECTORY}]",
    )
    parser.add_argument(
        "--signatures",
        metavar="DIR",
        help="signatures named by digest, as veriseal build writes them: files without verity "
        "are taken as they will be once they are enabled",
    )
    parser.add_argument(
        "--cert",
        action="append",
        default=[],
        metavar="FILE",
        help="one more certificate to recognise signers by; it counts for nothing",
    )
    parser.add_argument("--list", action="store_true", help="a line for every file")
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.add_argument("--html", metavar="FILE", help="write a page for people")
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=run)


_OTHER_ROOT = "Correct it, or name another root, such as an unpacked initrd, with --trust or --to"


class _Loaded(NamedTuple):
    """A trust root: what counts, or why nothing does."""

    name: str
    root: roots.Side | None
    gathered: Gathered | None
    error: VerisealError | None

    @property
    def settings(self) -> Policy:
        return Policy() if self.root is None else self.root.settings

    @property
    def trust(self) -> TrustSet:
        return _NOTHING if self.gathered is None else self.gathered.trust


def run(options: argparse.Namespace) -> int:
    """Print what would be lost, and the summary. Returns 1 if anything needed is."""
    # First of all: nothing is read for minutes before a mistake in these shows.
    render = None
    if options.html is not None:
        _check_place(options.tree, options.html)
        render = _renderer()
    given = [
        Known(certificate.load(files.read(path, pem.MAX_FILE_SIZE), path), None)
        for path in options.cert
    ]
    tree = os.open(options.tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    signatures = _signatures(options.signatures)
    loaded = [_load(root) for root in _roots(options)]
    problems = [one.error for one in loaded if one.error is not None]
    notes: list[str] = []
    directory, shown = _directory(tree, options)
    expected = None
    if directory is None:
        notes.append("There is no manifest: every file that is signed counts as needed.")
    else:
        try:
            expected = expecting.of(directory, shown)
        except VerisealError as error:
            problems.append(error)
    sides = []
    enrolled = ring.enrolled() or frozenset()
    for one in loaded:
        warnings = [] if one.gathered is None else one.gathered.warnings()
        unseen = one.gathered is not None and one.gathered.unseen
        errors = [] if one.error is None else [one.error]
        if one.gathered is not None and one.gathered.not_used is not None:
            counts = "" if unseen else "the trust statement does not count: "
            warnings.append(counts + one.gathered.not_used)
        if directory is not None and expected is not None:
            refused = _manifest_refused(directory, shown, expected, one)
            if refused is not None and one is loaded[-1]:
                problems.append(refused)
            elif refused is not None:
                notes.append(f"Today, in {one.name}: {refused}")
            errors += [] if refused is None else [refused]
        sides.append(summary.Side(
            one.name, one.trust, _judge(one, expected, signatures is not None, enrolled), errors,
            warnings, unseen,
        ))  # fmt: skip
    revoked = bool(expected and expected.manifest.revoked) or any(
        one.trust.revoked for one in loaded
    )
    with Progress(0) as progress:
        examined = audited.examine(
            tree, expected, [*_known(loaded), *given], signatures=signatures,
            all_verity=any(one.settings.verity == "all" for one in loaded), revoked=revoked,
            on_part=progress.reach,
        )  # fmt: skip
    result = summary.make(options.tree, _about(expected), sides, problems, notes, examined)
    if render is not None:
        made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        files.replace(options.html, render(result, made))
    if options.json:
        json.dump(result.as_json(), sys.stdout, indent=2)
        print()
    else:
        for line in text.lines(result, options.list):
            print(line)
    return 1 if result.failed else 0


def _renderer() -> Callable[[Summary, str], bytes]:
    try:
        from veriseal.audit import page
    except ModuleNotFoundError as error:
        raise VerisealError(
            "no-jinja2",
            f"--html needs a Python package that is not here: {error.name}",
            remedy="Install python3-jinja2",
        ) from None
    return page.render


def _check_place(tree: str, page: str) -> None:
    top = os.path.realpath(tree)
    # A link at that place is replaced, not followed.
    place = os.path.join(os.path.realpath(os.path.dirname(page)), os.path.basename(page))
    if top == "/":
        # Every place is in it; most may have one more file.
        inside = Patterns(policy.EXCLUSIVE).cover(os.fsencode(place))
    else:
        inside = os.path.commonpath([top, place]) == top
    if inside:
        raise UsageError(
            f"--html: {page} is in {tree}, where it would be a file that nobody has listed",
            remedy="Name a file " + ("in /root or /tmp" if top == "/" else "outside of it"),
        )


def _roots(options: argparse.Namespace) -> list[str]:
    today = options.trust
    if today is None:
        places = (resolve.follow(options.tree, path) for path in voa.LOAD_PATHS)
        today = options.tree if any(not place.error for place in places) else "/"
    return [today] if options.to is None else [today, options.to]


def _load(root: str) -> _Loaded:
    """What counts for ``root``; what is wrong with it is a finding."""
    side = None
    try:
        side = roots.read(root)
        return _Loaded(root, side, roots.gathered(side), None)
    except VerisealError as error:
        if side is None and error.remedy is None:
            error.remedy = _OTHER_ROOT
        return _Loaded(root, side, None, error)
    except OSError as error:
        # The kernel may refuse the very files that say who is trusted.
        return _Loaded(root, side, None, _unreadable(error, root))


def _unreadable(error: OSError, root: str) -> VerisealError:
    return VerisealError(
        "unreadable",
        f"cannot be read: {error.strerror}",
        path=path_of(error) or root,
        remedy=_OTHER_ROOT,
    )


def _known(loaded: Iterable[_Loaded]) -> Iterator[Known]:
    """Every certificate of the trust sets, also those that do not count."""
    for one in loaded:
        releases = [(release.certificate, release.os) for release in one.trust.releases]
        ignored = one.trust.ignored
        if one.gathered is None:
            ignored = []
            with contextlib.suppress(OSError):
                found = survey.survey({}, one.settings.context, one.name, voa.LOAD_PATHS)
                ignored = found.ignored
                held = [(file.certificate(), file.os) for file in found.releases]
                releases = [(known, name) for known, name in held if known is not None]
        yield from (Known(*release) for release in releases)
        for other in ignored:
            if other.certificate is not None:
                yield Known(other.certificate, other.os)


def _signatures(path: str | None) -> int | None:
    if path is None:
        return None
    inside = os.path.join(path, "signatures")
    chosen = inside if os.path.isdir(inside) else path
    return os.open(chosen, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _directory(tree: int, options: argparse.Namespace) -> tuple[int | None, str]:
    """The manifest directory, open, and its name for messages; None if there is no manifest."""
    if options.manifest is not None:
        shown = options.manifest
        return os.open(shown, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), shown
    shown = os.path.join(options.tree, manifest.DIRECTORY)
    try:
        return source.open_directory(tree, manifest.DIRECTORY, shown), shown
    except VerisealError:
        return None, shown


def _manifest_refused(
    directory: int, shown: str, expected: Expected, one: _Loaded
) -> VerisealError | None:
    """Why the manifest does not count for ``one``, leaving out which system it is booted with."""
    if one.root is None or one.gathered is None:
        return None
    trust = gather.manifest_trust(one.gathered, one.settings, one.root.os_release, 0)
    try:
        source.load(directory, shown, trust._replace(os_names=[expected.manifest.os]))
    except VerisealError as error:
        return error
    return None


def _judge(
    one: _Loaded, expected: Expected | None, to_be_enabled: bool, enrolled: frozenset[str]
) -> Judge:
    return Judge(
        one.trust,
        revoked=() if expected is None else expected.manifest.revoked,
        keyring=one.settings.keyring != "off",
        to_be_enabled=to_be_enabled,
        enrolled=enrolled,
    )


def _about(expected: Expected | None) -> str | None:
    if expected is None:
        return None
    return f"{expected.manifest.os} version {expected.manifest.version}"
