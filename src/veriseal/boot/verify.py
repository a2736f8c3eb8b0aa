"""The verify step as a whole: manifest, tree or image, launch table, report. Once, in the initrd.

It runs after the root file system is mounted and before anything of it is read or entered.
"""

import os
import time
from typing import Any

from veriseal import closure, journal, osrelease, policy, report, table, trusted
from veriseal import manifest as statement
from veriseal.boot import agent, composefs, floor, gather, seal, telling
from veriseal.boot.agent import Say, Step
from veriseal.boot.floor import Floor
from veriseal.boot.gather import Gathered
from veriseal.digest import Digest
from veriseal.errors import VerisealError
from veriseal.kernel import mounts, sysctl, verity
from veriseal.pattern import Patterns, Rules
from veriseal.policy import Policy
from veriseal.report import State
from veriseal.tree import check, findings, source
from veriseal.trust import model
from veriseal.trust.model import Ignored, TrustSet

SYSROOT = "/sysroot"
COMMAND_LINE = "/proc/cmdline"
_ONLY_WORSE_THAN_ERRORS = 3

_REMEDY = "journalctl -b -t veriseal names each; install this release again, or boot another"


def run(say: Say, warn: Say) -> dict[str, Any]:
    """Check what is mounted at `SYSROOT`. Returns what was added to the boot report.

    ``say`` gets a line for people after each step; the journal gets the same as a record.
    ``warn`` gets the few lines that whoever stands before the machine must see.

    Raises VerisealError: then the root must not be switched. With ``boot.mode = "report"`` it
    returns instead, and every message says so.
    """
    agent.require_initrd_and_root()
    step = agent.stepper(say)
    started = time.monotonic()
    state = report.state()
    body = report.read()
    if state.keyring != report.FAILED:
        body.pop("failure", None)  # of an earlier run
    mode = "enforce"
    try:
        # Also where nothing else is accepted: the next initrd goes by it.
        lowest = floor.read()
        body["floor"] = lowest._asdict()
        settings = policy.load()
        mode = settings.mode
        result, rows, closures = _verify(settings, state, body, lowest, telling.said(step, mode))
        result["seconds"] = round(time.monotonic() - started, 3)
        body["tree"] = result
        if result["findings"]:
            telling.show(result, mode, warn)
            if mode == "enforce":
                raise _refused(result["summary"])
        result["launch_table_rows"] = table.write(rows, closures, trusted.boot_id())
        state.manifest = report.REPORTED if result["findings"] else report.VERIFIED
        report.write(state, body)
    except Exception as error:
        failure = agent.as_error(error)
        state.manifest = report.FAILED
        what = telling.text(mode, "the tree is not accepted")
        agent.record_failure(journal.VERIFY_FAILED, what, failure, state, body)
        if mode == "report":
            warn(f"{what}: {failure}")
            return {"failure": failure.as_json()}
        raise failure from error
    return result


Rows = list[tuple[bytes, Digest]]
Verified = tuple[dict[str, Any], Rows, dict[bytes, list[tuple[bytes, bytes]]]]
"""What the report says of a tree or an image, the rows of the launch table, and its closures."""


def _verify(
    settings: Policy, state: State, body: dict[str, object], lowest: Floor, step: Step
) -> Verified:
    os_release = osrelease.read()
    gathered = _trusted(settings, os_release, state, body, lowest)
    trust = gather.manifest_trust(gathered, settings, os_release, lowest.version)
    if settings.root == "composefs":
        return _verify_image(settings, trust, state, step), [], {}
    return _verify_tree(settings, trust, gathered, state, step)


def _trusted(
    settings: Policy,
    os_release: dict[str, str],
    state: State,
    body: dict[str, object],
    lowest: Floor,
) -> Gathered:
    """What counts: what the seal step found, and the certificates that are enrolled."""
    if state.keyring != report.SEALED and (
        state.keyring != report.OFF or settings.keyring != "off"
    ):
        raise VerisealError(
            "not-sealed",
            "this boot is not sealed",
            expected=report.SEALED,
            found=state.keyring,
            remedy="See what veriseal-seal.service says: journalctl -b -u veriseal-seal",
        )
    gathered = gather.sealed(settings, os_release, lowest, body.get("trust"))
    if state.keyring != report.SEALED:
        return gathered
    sealed = seal.Sealed.from_json(body.get("kernel_keyring"))
    seal.require_same(gathered.trust, sealed)
    seal.read_back(sealed)
    return gathered._replace(trust=_enrolled(gathered.trust, sealed))


def _enrolled(trust: TrustSet, sealed: seal.Sealed) -> TrustSet:
    """``trust`` without what another service, which filled the keyring, has left out."""
    present = {key.fingerprint for key in sealed.keys}
    left_out = [one for one in trust.releases if one.certificate.fingerprint not in present]
    ignored = [
        Ignored(
            one.certificate.path,
            model.NOT_ENROLLED,
            "the service that filled the keyring has not enrolled it",
            one.os,
            one.certificate,
        )
        for one in left_out
    ]
    releases = [one for one in trust.releases if one not in left_out]
    return trust._replace(releases=releases, ignored=[*trust.ignored, *ignored])


def _verify_tree(
    settings: Policy, trust: source.Trust, gathered: Gathered, state: State, step: Step
) -> Verified:
    root = os.open(SYSROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    shown = f"{SYSROOT}/{statement.DIRECTORY}"
    directory = source.open_directory(root, statement.DIRECTORY, shown)
    release = _load(directory, shown, trust, state, step)
    needed = closure.parse(release.closures, f"{shown}/{closure.NAME}")
    checked = _check(root, release, settings.verity == "all")
    covered, beyond = mounted_below(SYSROOT, checked, Patterns(release.manifest.mutable))
    for point in beyond:
        step(journal.VERIFY_NOT_COVERED, f"not covered: what is mounted at {point}", journal.NOTICE)
    for finding in checked.findings[: telling.MOST_FINDINGS]:
        path = os.fsdecode(finding.path)
        step(journal.VERIFY_FINDING, str(finding), journal.ERROR, path=path)
    lost = telling.lost(checked.findings, gathered, state)
    for line in lost:
        step(journal.TRUST_LOST, line, journal.ERROR)
    text = findings.summary(checked.findings)
    step(journal.VERIFY_DONE, f"{_named(release)}: {checked.entries} entries, {text}",
         journal.NOTICE)  # fmt: skip
    result = {
        **_about(release, trust, settings),
        **checked.as_json(),
        "findings": telling.reported(checked.findings),
        "summary": text,
        "lost_trust": lost,
        "mounts": covered,
        "not_covered": beyond,
    }
    return result, checked.rows, _closures(needed, checked)


def _check(root: int, release: source.Release, verity_for_all: bool) -> check.Result:
    """`check.check`, with the screen kept for us.

    The kernel complains of each file that it refuses, and would scroll away what it comes to. Its
    log has the complaints.
    """
    try:
        before = sysctl.console_level(_ONLY_WORSE_THAN_ERRORS)
    except (OSError, ValueError):
        return check.check(root, release, verity_for_all)
    try:
        return check.check(root, release, verity_for_all)
    finally:
        sysctl.console_level(before)


def _closures(
    needed: closure.Closures, checked: check.Result
) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """What the launcher has to measure for each program, see `table`.

    A member is known by its digest, for links lead to it. So what should have had the digest of a
    file with a finding is refused, wherever else the digest may belong.
    """
    good = {digest for _, digest in checked.rows} - checked.refused
    measured: dict[Digest | None, bytes] = {None: table.ABSENT}
    measured |= {digest: verity.raw_digest(digest) for digest in good}
    return {
        program: [(path, measured.get(digest, table.REFUSED)) for path, digest in members]
        for program, members in needed.items()
    }


def _verify_image(
    settings: Policy, trust: source.Trust, state: State, step: Step
) -> dict[str, Any]:
    with open(COMMAND_LINE, encoding="utf-8", errors="surrogateescape") as file:
        digest, image = composefs.named(file.read().rstrip("\n"), settings.image_file)
    shown = composefs.deployment(settings.images, digest)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    directory = source.open_directory(root, shown.lstrip("/"), shown)
    release = _load(directory, shown, trust, state, step)
    if release.manifest.image != digest:
        raise VerisealError(
            "other-image",
            "the digest file is of another image",
            path=release.path,
            expected=digest,
            found=release.manifest.image or "a tree",
            remedy="Make it with: veriseal build --image",
        )
    for one in release.signatures:
        composefs.kernel_agrees(one.signer, release.digest, one.der)
    mounted_now = mounts.read()
    rules = Rules(settings.exclusive, settings.mutable)
    composefs.require_mounted(mounted_now, SYSROOT, digest, image, rules)
    beyond = composefs.mounted_inside(mounted_now, SYSROOT)
    for point in beyond:
        step(journal.VERIFY_NOT_COVERED, f"not covered: {point}", journal.NOTICE)
    step(journal.VERIFY_DONE, f"{_named(release)}: the mounted image is {digest}", journal.NOTICE)
    return {
        **_about(release, trust, settings),
        "image": str(digest),
        "findings": [],
        "not_covered": beyond,
    }


def mounted_below(
    root: str, checked: check.Result, mutable: Patterns
) -> tuple[list[str], list[str]]:
    """What is mounted in the tree at ``root``: what the check saw through, and what it did not.

    What is mounted over a listed file, or holds anything that is listed, was compared with the
    list like the rest, unless it may change by design. Paths are as seen in the tree.
    Raises as `mounts.at`.
    """
    covered: list[str] = []
    beyond: list[str] = []
    for point in composefs.mounted_inside(mounts.read(), root):
        path = os.fsencode(point)
        below = path + b"/"
        listed = any(one.startswith(below) for one in checked.directories) or any(
            one == path or one.startswith(below) for one, _ in checked.rows
        )
        (covered if listed and not mutable.cover(path) else beyond).append(point)
    return covered, beyond


def _load(
    directory: int, shown: str, trust: source.Trust, state: State, step: Step
) -> source.Release:
    """The release. From here on the boot report names it, and what it revokes."""
    try:
        release = source.load(directory, shown, trust)
    finally:
        os.close(directory)
    for why in release.ignored:
        step(journal.VERIFY_NOT_COVERED, f"counts for nothing: {why}", journal.WARNING)
    state.release = f"{release.manifest.os} version {release.manifest.version}"
    state.revoked = [str(digest) for digest in release.manifest.revoked]
    return release


def _about(release: source.Release, trust: source.Trust, settings: Policy) -> dict[str, Any]:
    manifest = release.manifest
    return {
        "mode": settings.mode,
        "os": manifest.os,
        "version": manifest.version,
        "created": manifest.created,
        "floor": trust.lowest(manifest.os),
        "manifest": str(release.digest),
        "signed_by": [one.signer.fingerprint for one in release.signatures],
        "signatures_needed": trust.needed,
    }


def _named(release: source.Release) -> str:
    signers = ", ".join(one.signer.subject for one in release.signatures)
    return f"{release.manifest.os} version {release.manifest.version}, signed by {signers}"


def _refused(summary: str) -> VerisealError:
    problem = f"the tree is not as its manifest says: {summary}"
    return VerisealError("tree-refused", problem, path=SYSROOT, remedy=_REMEDY)
