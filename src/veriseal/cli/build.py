"""veriseal build: the release of a tree, in one pass, or of a composefs image."""

import argparse
import gc
import json
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from veriseal import manifest, osrelease, policy, signers, voa
from veriseal.build import closures, files, release
from veriseal.build.closures import Wanted
from veriseal.build.keep import Keep
from veriseal.build.model import Model
from veriseal.build.scan import Node, Scan, scan
from veriseal.build.sign import SIGNATURES
from veriseal.build.signer import Signer
from veriseal.cli import keep, numbers, parameters, signer
from veriseal.cli.progress import Progress
from veriseal.cli.warning import warn
from veriseal.closure import Closures
from veriseal.digest import Digest
from veriseal.errors import UsageError, VerisealError, printable
from veriseal.manifest import Manifest
from veriseal.pattern import Patterns
from veriseal.policy import Policy
from veriseal.signers import Signed

_MAX_CONFIGURATION = 1 << 20
_EPILOG = f"""\
DIR gets tree.dump, the list of the tree in composefs-dump(5); closures.json, what each program
needs before it runs; signers.json, whose signatures files have; manifest.json, which has the
digests of these, and its signature; and the signatures of files, named by digest:
veriseal enable TREE --signatures DIR/signatures.
The same tree, configuration, version and time give the same files. If anything cannot be read,
all of that is said and no manifest is written. Run the command again after an interruption:
signatures that are there already are kept.

{keep.EPILOG}
With --image, DIR gets HEX/manifest.json and its signature, HEX being the digest of IMAGE; so DIR
can hold those of several images: it is what boot.images names.

Where several signatures of the manifest are needed, each further signer runs
  veriseal sign --manifest --key KEY --cert CERT DIR/manifest.json
or this command with the same --created, --keep DIR, and the first signer's certificate as
--keep-cert. A manifest that is not the same byte for byte replaces the old one, whose signatures
are removed.

{signer.EPILOG}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the verb's arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("tree", nargs="?", metavar="TREE", help="the root directory of the system")
    what.add_argument("--image", metavar="IMAGE", help="a composefs image, in place of TREE")
    parser.add_argument("--os", required=True, metavar="NAME", help="such as fedora:43")
    parser.add_argument(
        "--version", required=True, metavar="N", help="of the release; only grows", dest="number"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="outside of TREE")
    parser.add_argument(
        "--created", metavar="SECONDS", help="since 1970 [SOURCE_DATE_EPOCH, or else now]"
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help=f"can be repeated [{' and '.join(policy.FILES)} of TREE]",
    )
    signer.add(parser)
    keep.add(parser)
    parameters.add(parser)
    parser.add_argument("--json", action="store_true", help="a JSON report on stdout")
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build the release; failures go to stderr and the exit status."""
    # A collection in a worker would copy all the memory that it shares with the others.
    gc.disable()
    chosen = parameters.of_files(options)
    version = numbers.number("--version", options.number, 1)
    if not options.os.isprintable() or {"", "/"} & {options.os, *options.os}:
        raise UsageError(f"--os: not the name of a release: {options.os}")
    statement = Manifest(
        os=options.os, version=version, created=numbers.created(options.created), parameters=chosen
    )
    keep.check_usage(options)
    if options.image is not None:
        return _build_image(options, statement)
    _check_places(options.tree, options.out)
    settings = _settings(options)
    _check_os(options.tree, options.os)
    statement = statement._replace(
        exclusive=settings.exclusive,
        mutable=settings.mutable,
        signed=settings.sign,
        revoked=settings.revoked,
    )
    by = _signer(options, statement)
    earlier = keep.of(options, by.certificate)
    found = scan(options.tree, manifest.rules(statement))
    wanted = Wanted(Patterns(settings.programs), Patterns(settings.sign), settings.loads)
    return _Run(options.out, by, earlier, statement, wanted, options.json).build(found)


def _build_image(options: argparse.Namespace, statement: Manifest) -> int:
    if options.config is not None:
        raise UsageError("--config is for TREE: of an image nothing is left out")
    if options.keep:
        raise UsageError("--keep is for TREE: files of an image have no signatures")
    chosen = statement.parameters
    if chosen.block_size != manifest.PARAMETERS.block_size or chosen.salt:
        raise UsageError(
            "--block-size, --salt: composefs knows nothing but blocks of 4096 bytes without salt",
            remedy="Leave them out",
        )
    by = _signer(options, statement)
    with Progress(1) as progress:
        image, size = release.image_digest(options.image, chosen, progress.part)
    written = release.write_image(options.out, image, statement, by)
    print(f"an image of {size} bytes: {image}", file=sys.stderr)
    if options.json:
        report: dict[str, object] = {"schema": 1, "image": options.image, "bytes": size}
        _print_json({**report, "errors": [], **_as_json(written), "image_digest": str(image)})
    else:
        _print_lines(written)
    return 0


def _signer(options: argparse.Namespace, statement: Manifest) -> Signer:
    by = signer.of(options)
    signer.warn_of_dates([by.certificate], statement.created)
    return by


class _Run:
    def __init__(
        self,
        out: str,
        by: Signer,
        earlier: Keep,
        statement: Manifest,
        wanted: Wanted,
        as_json: bool,
    ) -> None:
        self._out = out
        self._by = by
        self._earlier = earlier
        self._tally = keep.Tally(earlier)
        self._statement = statement
        self._wanted = wanted
        self._as_json = as_json
        names = ("entries", "files", "bytes", "programs", release.SIGNED, release.KEPT)
        self._counts = dict.fromkeys(names, 0)
        self._digests: dict[Node, Digest] = {}
        self._errors: list[VerisealError] = []
        self._foreign: list[dict[str, str]] = []
        self._own: list[bytes] = []

    def build(self, found: Scan) -> int:
        signatures = os.path.join(self._out, SIGNATURES)
        os.makedirs(signatures, exist_ok=True)
        lines = self._lines(found, signatures)
        # Without the digests of all files there are no closures.
        needed = {} if self._errors else self._closures(found)
        if self._errors:
            self._report(None)
            return 1
        signed = self._signed()
        self._report(release.write(self._out, lines, needed, signed, self._statement, self._by))
        return 0

    def _lines(self, found: Scan, signatures: str) -> list[bytes]:
        lines = [b""] * found.length
        with Progress(len(found.nodes), unit="entry") as progress:
            for error in found.errors:
                self._failed(error, progress.say)
            for node, outcome in release.entries(
                found.nodes, self._statement, self._by, self._earlier, signatures, progress.part
            ):
                progress.step()
                if isinstance(outcome, VerisealError):
                    self._failed(outcome, progress.say)
                    continue
                for position, line in zip(node.positions, outcome.lines, strict=True):
                    lines[position] = line
                self._counts["entries"] += len(outcome.lines)
                if outcome.digest is not None:
                    self._digests[node] = outcome.digest
                    self._counts["files"] += 1
                    self._counts["bytes"] += node.status.st_size
                if outcome.state is not None:
                    self._counts[outcome.state] += 1
                    if not self._tally.note(node, outcome):
                        self._own += node.paths
        return lines

    def _signed(self) -> list[Signed]:
        own = self._by.certificate
        by_us = Signed(self._statement.os, own.fingerprint, own.subject, tuple(self._own))
        return signers.compact([by_us, *self._tally.signed()])

    def _closures(self, found: Scan) -> Closures:
        model = Model(found, manifest.rules(self._statement))
        built = closures.build(model, self._digests, self._wanted)
        self._counts["programs"] = len(built.closures)
        for error in built.foreign:
            self._foreign.append(error.as_json())
            warn(f"left out, for nothing of its architecture can start: {error}")
        for error in built.errors:
            self._failed(error, _complain)
        return built.closures

    def _failed(self, error: VerisealError, say: Callable[[str], None]) -> None:
        self._errors.append(error)
        say(f"veriseal: {error}")

    def _report(self, written: release.Written | None) -> None:
        counts = self._counts
        text = f"{counts['files']} files, {counts['bytes']} bytes, {counts['programs']} programs; "
        text += f"{counts[release.SIGNED]} signed, {counts[release.KEPT]} kept, "
        text += f"{len(self._errors)} failed"
        print(text, file=sys.stderr)
        for line in self._tally.lines():
            _complain(line)
        if self._as_json:
            report: dict[str, object] = {"schema": 1, **counts, "kept_from": self._tally.as_json()}
            report["errors"] = [error.as_json() for error in self._errors]
            report["programs_left_out"] = self._foreign
            if written is not None:
                report |= {**_as_json(written), "tree_digest": str(written.digest)}
            _print_json(report)
        elif written is not None:
            _print_lines(written)
        else:
            print("No manifest was written", file=sys.stderr)


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _as_json(written: release.Written) -> dict[str, object]:
    return {
        "manifest": written.manifest,
        "manifest_digest": str(written.manifest_digest),
        "signature": written.signature,
        "removed_signatures": written.removed,
    }


def _print_json(report: dict[str, object]) -> None:
    json.dump(report, sys.stdout, indent=2)
    print()


def _print_lines(written: release.Written) -> None:
    for path in written.removed:
        print(f"removed {printable(path)}: it signed another manifest", file=sys.stderr)
    print(f"{written.manifest_digest} {printable(written.manifest)}")


def _check_places(tree: str, out: str) -> None:
    top, place = os.path.realpath(tree), os.path.realpath(out)
    if not stat.S_ISDIR(os.stat(tree).st_mode):
        raise UsageError(f"{tree}: not a directory")
    if os.path.commonpath([top, place]) == top:
        raise UsageError(
            f"--out: {out} is in {tree}, and would be a part of its own list",
            remedy="Name another directory; copy its files to "
            f"{manifest.DIRECTORY} of the tree afterwards",
        )


def _settings(options: argparse.Namespace) -> Policy:
    if options.config is None:
        return policy.load(tuple(files.inside(options.tree, name) for name in policy.FILES))
    settings: dict[str, Any] = {}
    for path in options.config:
        policy.merge(settings, policy.parse(files.read(path, _MAX_CONFIGURATION), path))
    return policy.make(settings)


def _check_os(tree: str, name: str) -> None:
    """Raise VerisealError ``other-os`` unless ``name`` is one of the tree's own, if it has any."""
    found = (files.inside(tree, path) for path in ("etc/os-release", "usr/lib/os-release"))
    paths = tuple(path for path in found if os.path.exists(path))
    if not paths:
        return
    names = voa.os_identifiers(osrelease.read(paths))
    if name not in names:
        raise VerisealError(
            "other-os",
            "the tree is of another operating system or release than --os says",
            path=paths[0],
            expected=name,
            found=" or ".join(names),
        )
