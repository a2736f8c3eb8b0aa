"""Which certificates count for a system, and the reason of each that does not."""

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from veriseal import certificate, fields, voa
from veriseal.digest import SHA256, Digest
from veriseal.errors import VerisealError
from veriseal.policy import Policy
from veriseal.trust import dates, load, model
from veriseal.trust.model import TrustSet
from veriseal.trust.statement import Statement, StatementRelease

pytestmark = pytest.mark.unit

OS_RELEASE = {"ID": "fedora", "VERSION_ID": "43"}
ETC, RUN, LOCAL, SHARE = voa.LOAD_PATHS
IMAGE, ANCHOR = voa.PURPOSE, voa.ANCHOR_PURPOSE
WINDOW = Policy(previous=("fedora:42",), next=("fedora:44",))


def seconds(year: int) -> int:
    return int(datetime.datetime(year, 6, 1, tzinfo=datetime.UTC).timestamp())


NOW = seconds(2027)


class System:
    """The root of a system, and keys and certificates for it."""

    def __init__(self, root: Path, certify: Callable[..., bytes]) -> None:
        self.root = str(root)
        self._certify = certify
        self.keys: dict[str, Any] = {}

    def key(self, name: str) -> Any:
        if name not in self.keys:
            self.keys[name] = ec.generate_private_key(ec.SECP256R1())
        return self.keys[name]

    def release(self, name: str, by: str = "root", **options: Any) -> bytes:
        options = {"subject": name, "issuer": by, "signer": self.key(by), **options}
        key = options.pop("key", name)
        return self._certify(self.key(key), **options)

    def authority(self, name: str, by: str | None = None, **options: Any) -> bytes:
        options = {"ca": True, "usages": ("key_cert_sign", "crl_sign"), "purposes": None, **options}
        return self.release(name, by or name, **options)

    def path(self, os_name: str, name: str, load_path: str = SHARE, purpose: str = IMAGE) -> str:
        path = f"{self.root}{load_path}/{os_name}/{purpose}/default/x509/{name}.pem"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put(self, data: bytes, *place: str) -> str:
        """As `path`: OS name, file name, load path, purpose."""
        path = self.path(*place)
        Path(path).write_bytes(data)
        return path

    def mask(self, *place: str) -> str:
        path = self.path(*place)
        os.symlink("/dev/null", path)
        return path

    def anchor(self, name: str = "root", os_name: str = "fedora") -> bytes:
        data = self.authority(name)
        self.put(data, os_name, name, SHARE, ANCHOR)
        return data

    def load(self, settings: Policy = WINDOW, at: int = NOW, **options: Any) -> TrustSet:
        trust = load.load(settings, OS_RELEASE, root=self.root, at=at, **options)
        files = [one.path for one in trust.ignored if one.path.endswith(".pem")]
        assert len(files) == len(set(files))
        assert trust.releases
        return trust

    def refused(self, reason: str, settings: Policy = WINDOW, **options: Any) -> str:
        with pytest.raises(VerisealError) as caught:
            self.load(settings, **options)
        assert caught.value.reason == reason
        return str(caught.value)


@pytest.fixture
def system(tmp_path: Path, certify: Callable[..., bytes]) -> System:
    return System(tmp_path, certify)


def names(trust: TrustSet) -> list[str]:
    return [one.certificate.subject.removeprefix("CN=") for one in trust.releases]


def reasons(trust: TrustSet) -> dict[str, str]:
    """By the file."""
    return {one.path: one.reason for one in trust.ignored}


# The window.


def test_the_window_in_its_order(system: System) -> None:
    for version in ("44", "43", "42"):
        system.put(system.release(f"r{version}"), f"fedora:{version}", "release")
    system.put(system.release("generic"), "fedora", "release")
    outside = system.put(system.release("r41"), "fedora:41", "release")
    other = system.put(b"nothing", "debian:13", "release")
    trust = system.load()
    assert names(trust) == ["r42", "generic", "r43", "r44"]
    parts = [model.PREVIOUS, model.CURRENT, model.CURRENT, model.NEXT]
    assert [one.part for one in trust.releases] == parts
    assert list(trust.window) == ["fedora:42", "fedora", "fedora:43", "fedora:44"]
    assert reasons(trust) == {outside: model.OUTSIDE, other: model.OUTSIDE}
    known = {one.path: one.certificate for one in trust.ignored}
    assert known.pop(other) is None
    assert [one.subject for one in known.values() if one] == ["CN=r41"]
    assert trust.origin == model.BUILT_IN


def test_nothing_counts(system: System) -> None:
    system.put(system.release("r41"), "fedora:41", "release")
    for number in range(9):
        system.put(system.release("x", key=f"{number}"), "debian", f"{number}")
    system.put(system.release("r43"), "fedora:43", "release", RUN)
    message = system.refused("no-certificates")
    assert message.startswith(f"{system.root}/etc/voa/fedora:43/image/default/x509: ")
    assert "outside the window" in message
    assert "and 3 more" in message


def test_run_counts_for_nothing_and_is_named(system: System) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    path = system.put(system.release("r44"), "fedora:44", "release", RUN)
    mask = system.mask("fedora:43", "release", RUN)
    root = system.put(system.authority("root"), "fedora", "root", RUN, ANCHOR)
    broken = system.put(b"", "fedora:43", "broken", RUN)
    trust = system.load()
    assert names(trust) == ["r43"]
    assert reasons(trust) == dict.fromkeys((path, mask, root, broken), model.NOT_IN_INITRD)
    assert trust.anchors == []


def test_all_four_load_paths_where_the_caller_says_so(system: System) -> None:
    system.put(system.release("r43"), "fedora:43", "release", RUN)
    assert names(system.load(load_paths=voa.LOAD_PATHS)) == ["r43"]


@pytest.mark.parametrize(
    "settings",
    [
        Policy(previous=("fedora:42",), next=("fedora:42",)),
        Policy(next=("Fedora:44",)),
        Policy(next=("fedora:44:",)),
    ],
)
def test_a_window_that_cannot_be_meant(system: System, settings: Policy) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    system.refused("bad-configuration", settings)


@pytest.mark.parametrize(
    "settings",
    [Policy(previous=("fedora:43",)), Policy(next=("fedora:43",)), Policy(next=("fedora",))],
)
def test_the_systems_own_release_is_current_whatever_old_settings_say(
    system: System, settings: Policy
) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    (release,) = system.load(settings).releases
    assert release.part == model.CURRENT


def test_a_broken_file_is_an_error_only_within_the_window(system: System) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    system.put(b"nothing", "fedora:41", "broken")
    system.load()
    path = system.put(b"nothing", "fedora:44", "broken")
    assert path in system.refused("not-a-certificate")


def test_an_authority_without_an_anchor_is_an_error(system: System) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    system.put(system.authority("middle", "root"), "fedora:43", "middle")
    system.refused("certificate-authority")


def test_a_huge_file(system: System) -> None:
    path = system.put(b"", "fedora:43", "huge")
    os.truncate(path, 1 << 40)
    assert "65537 bytes" in system.refused("certificate-too-large")


# One certificate in several files; masks.


def test_a_certificate_counts_once(system: System) -> None:
    data = system.release("release")
    first = system.put(data, "fedora", "b")
    others = [system.put(data, "fedora:42", "a"), system.put(data, "fedora:43", "c")]
    others += [system.put(b"\n" + data, "fedora:44", "d", ETC)]
    trust = system.load()
    assert [(one.os, one.certificate.path) for one in trust.releases] == [("fedora", first)]
    assert reasons(trust) == dict.fromkeys(others, model.REPEATED)


def test_two_that_the_kernel_takes_for_one(system: System) -> None:
    for version in ("43", "44"):
        data = system.release(f"r{version}", serial=7)
        system.put(data, f"fedora:{version}", "release")
    system.refused("certificate-collision")
    system.load(Policy())


@pytest.mark.parametrize("at", ["fedora:43", "fedora:41", "fedora"])
def test_a_masked_key_counts_nowhere(system: System, at: str) -> None:
    data = system.release("bad", by="x")
    lost = system.put(data, at, "lost")
    mask = system.mask(at, "lost", ETC)
    copy = system.put(data, "fedora:43", "copy", ETC)
    again = system.put(system.release("reissued", key="bad"), "fedora:44", "again")
    system.put(system.release("r43"), "fedora:43", "good")
    trust = system.load()
    assert names(trust) == ["r43"]
    assert reasons(trust) == dict.fromkeys((lost, mask, copy, again), model.MASKED)
    told = {one.path: one.why for one in trust.ignored}
    assert told[again] == f"its key is that of {lost}, which is masked"


def test_a_masked_key_in_a_certificate_that_is_not_usable(system: System) -> None:
    system.put(system.release("bad", skid=None), "fedora:43", "lost")
    system.mask("fedora:43", "lost", ETC)
    copy = system.put(system.release("bad"), "fedora:43", "copy")
    system.put(system.release("r43"), "fedora:43", "good")
    trust = system.load()
    assert names(trust) == ["r43"]
    assert reasons(trust)[copy] == model.MASKED


def test_everything_is_masked(system: System) -> None:
    path = system.put(system.release("r43"), "fedora:43", "release")
    mask = system.mask("fedora:43", "release", ETC)
    assert f"{path} (masked by {mask})" in system.refused("no-certificates")


# Anchors.


def test_an_anchor_vouches(system: System) -> None:
    system.anchor()
    system.put(system.release("r43"), "fedora:43", "release")
    stranger = system.put(system.release("rogue", by="stranger"), "fedora:43", "rogue")
    alone = system.put(system.release("alone", by="alone"), "fedora:44", "alone")
    trust = system.load()
    assert names(trust) == ["r43"]
    assert [one.anchor for one in trust.releases] == [trust.anchors[0].certificate]
    assert reasons(trust) == {stranger: model.NOT_VOUCHED, alone: model.NOT_VOUCHED}


def test_an_anchor_vouches_for_the_releases_below_its_name(system: System) -> None:
    system.anchor("one", "fedora:43")
    system.anchor("two", "fedora")
    for by in ("one", "two"):
        for version in ("43", "44"):
            system.put(system.release(f"{by}{version}", by), f"fedora:{version}", by)
    assert names(system.load()) == ["one43", "two43", "two44"]


def test_anchors_of_one_name_and_different_keys(system: System) -> None:
    system.anchor()
    system.put(system.authority("root", key="old", by="root"), "fedora", "old", ETC, ANCHOR)
    system.put(system.release("r43"), "fedora:43", "release")
    assert names(system.load()) == ["r43"]


def test_another_vendors_anchor(system: System) -> None:
    system.anchor(os_name="debian")
    rogue = system.put(system.release("rogue"), "fedora:43", "rogue")
    trust = system.load()
    # No anchor of this system: as if there were none.
    assert names(trust) == ["rogue"]
    system.anchor("own")
    assert f"{rogue} (no trust anchor vouches" in system.refused("no-certificates")


def lose_by_mask(system: System) -> None:
    system.anchor()
    system.mask("fedora", "root", ETC, ANCHOR)


def lose_by_dates(system: System) -> None:
    system.anchor()


def lose_by_contents(system: System) -> None:
    system.put(b"nothing", "fedora", "root", SHARE, ANCHOR)


def lose_by_release(system: System) -> None:
    system.put(system.release("x"), "fedora", "root", SHARE, ANCHOR)


def lose_by_link(system: System) -> None:
    os.symlink("/nowhere/root.pem", system.path("fedora", "root", SHARE, ANCHOR))


def lose_by_fifo(system: System) -> None:
    os.mkfifo(system.path("fedora", "root", SHARE, ANCHOR))


def lose_by_a_release_that_is_gone(system: System) -> None:
    system.anchor(os_name="fedora:41")


def lose_by_a_mask_alone(system: System) -> None:
    system.mask("fedora", "root", ETC, ANCHOR)


def lose_by_a_masked_directory(system: System) -> None:
    path = system.path("fedora", "root", SHARE, ANCHOR)
    os.removedirs(os.path.dirname(path))
    os.makedirs(f"{system.root}{SHARE}/fedora")
    os.symlink("/dev/null", f"{system.root}{SHARE}/fedora/{ANCHOR}")


def lose_by_the_key(system: System) -> None:
    system.anchor()
    system.put(system.release("x", key="root"), "fedora:43", "x")
    system.mask("fedora:43", "x", ETC)


def lose_by_suffix(system: System) -> None:
    system.anchor()
    path = system.path("fedora", "root", SHARE, ANCHOR)
    os.rename(path, path.removesuffix(".pem") + ".crt")


def lose_by_a_directory_link(system: System) -> None:
    os.makedirs(f"{system.root}{SHARE}")
    os.symlink("/elsewhere/fedora", f"{system.root}{SHARE}/fedora")


@pytest.mark.parametrize(
    "lose",
    [
        lose_by_mask,
        lose_by_dates,
        lose_by_contents,
        lose_by_release,
        lose_by_link,
        lose_by_fifo,
        lose_by_a_release_that_is_gone,
        lose_by_a_mask_alone,
        lose_by_a_masked_directory,
        lose_by_the_key,
        lose_by_a_directory_link,
        lose_by_suffix,
    ],
)
def test_an_anchor_that_does_not_count_is_still_needed(
    system: System, lose: Callable[[System], None]
) -> None:
    lose(system)
    system.put(system.release("alone", by="alone"), "fedora:43", "alone", ETC)
    settings = WINDOW._replace(dates="enforce")
    at = seconds(2099) if lose is lose_by_dates else NOW
    message = system.refused("no-anchor", settings, at=at)
    assert "found nothing" not in message
    assert load.find_anchors(settings, OS_RELEASE, root=system.root, at=at) == []


def test_a_masked_system_or_another_file_is_no_anchor(system: System) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    os.symlink("/dev/null", f"{system.root}{SHARE}/fedora:41")
    Path(system.path("fedora", "x", SHARE, ANCHOR)).with_name("README").touch()
    assert names(system.load()) == ["r43"]


def test_anchors_are_needed_where_the_settings_say_so(system: System) -> None:
    system.put(system.release("r43"), "fedora:43", "release")
    message = system.refused("no-anchor", WINDOW._replace(anchors="require"))
    # For the whole window, not for one release.
    place = f"{system.root}{SHARE}/fedora/trust-anchor-image/default/x509"
    assert message.startswith(f"{place}: ")
    system.anchor()
    system.load(WINDOW._replace(anchors="require"))


def test_one_anchor_in_several_files(system: System) -> None:
    data = system.anchor()
    twice = [system.put(data, "fedora:43", "again", ETC, ANCHOR)]
    system.put(data, "debian", "root", SHARE, ANCHOR)
    system.put(system.release("r43"), "fedora:43", "release")
    trust = system.load()
    assert [one.os for one in trust.anchors] == ["fedora"]
    assert [path for path, why in reasons(trust).items() if why == model.REPEATED] == twice
    found = load.find_anchors(WINDOW, OS_RELEASE, root=system.root, at=NOW)
    assert [one.certificate.fingerprint for one in found] == [
        one.certificate.fingerprint for one in trust.anchors
    ]


def test_one_anchor_of_two_releases(system: System) -> None:
    data = system.authority("root")
    for version in ("43", "44"):
        system.put(data, f"fedora:{version}", "root", SHARE, ANCHOR)
        system.put(system.release(f"r{version}"), f"fedora:{version}", "release")
    assert names(system.load()) == ["r43", "r44"]


def test_an_intermediate_vouches_and_is_not_enrolled(system: System) -> None:
    system.anchor()
    middle = system.put(system.authority("middle", "root"), "fedora", "middle")
    system.put(system.release("r43", "middle"), "fedora:43", "release")
    trust = system.load()
    assert names(trust) == ["r43"]
    assert reasons(trust) == {middle: model.INTERMEDIATE}
    mask = system.mask("fedora", "middle", ETC)
    assert f"masked by {mask}" in system.refused("no-certificates")


def test_the_anchor_itself_among_the_releases_is_not_enrolled(system: System) -> None:
    data = system.anchor()
    path = system.put(data, "fedora:43", "root")
    system.put(system.release("r43"), "fedora:43", "release")
    trust = system.load()
    assert names(trust) == ["r43"]
    assert reasons(trust) == {path: model.INTERMEDIATE}


def test_a_release_certificate_that_may_do_more_is_an_error(system: System) -> None:
    system.anchor()
    for options in (
        {"usages": ("digital_signature", "key_cert_sign")},
        {"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)},
    ):
        system.put(system.release("r43", **options), "fedora:43", "release")
        system.refused("wrong-key-usage")


# Dates: the certificates are good from 2026 to 2035.


@pytest.mark.parametrize(
    ("at", "clause"),
    [
        (0, "not valid before 2026-01-01"),
        (seconds(2099), "expired on 2035-12-30"),
        (1 << 62, "expired on 2035-12-30"),
    ],
)
def test_dates(system: System, at: int, clause: str) -> None:
    path = system.put(system.release("r43"), "fedora:43", "release")
    for handling, warnings in (("ignore", ()), ("warn", (clause,))):
        trust = system.load(WINDOW._replace(dates=handling), at=at)
        assert [one.warnings for one in trust.releases] == [warnings]
    enforced = WINDOW._replace(dates="enforce")
    assert f"{path} ({clause})" in system.refused("no-certificates", enforced, at=at)
    assert system.load(enforced).releases[0].warnings == ()


def test_dates_are_judged_for_each(system: System) -> None:
    old = system.put(system.release("old", year=2010), "fedora:43", "old")
    new = system.put(system.release("new", year=2030), "fedora:43", "new")
    system.put(system.release("r43"), "fedora:43", "release")
    trust = system.load(WINDOW._replace(dates="enforce"))
    assert names(trust) == ["r43"]
    assert reasons(trust) == {old: model.EXPIRED, new: model.NOT_YET_VALID}


def test_the_first_and_the_last_second_count(system: System) -> None:
    held = certificate.load(system.release("r43"), "f")
    first, last = int(held.not_before.timestamp()), int(held.not_after.timestamp())
    wrong = [at for at in (first - 1, first, last, last + 1) if dates.judge(held, at)]
    assert wrong == [first - 1, last + 1]
    assert [dates.expired(held, at) for at in wrong] == [False, True]


def test_days_beyond_any_calendar() -> None:
    assert dates.day(0) == "1970-01-01"
    assert dates.day(fields.MAX_NUMBER) == f"{fields.MAX_NUMBER} seconds since 1970"


def test_of_two_paths_the_one_with_good_dates_counts(system: System) -> None:
    system.anchor()
    system.put(system.authority("root", key="root", year=2010), "fedora", "a", ETC, ANCHOR)
    system.put(system.release("r43"), "fedora:43", "release")
    for handling in ("warn", "enforce"):
        trust = system.load(WINDOW._replace(dates=handling))
        assert trust.releases[0].warnings == ()


def test_dates_of_those_above(system: System) -> None:
    system.anchor()
    middle = system.put(system.authority("middle", "root"), "fedora", "middle")
    system.put(system.release("r43", "middle"), "fedora:43", "release")
    trust = system.load(at=seconds(2099))
    said = trust.releases[0].warnings
    assert [one.partition(" (")[0] for one in said] == [
        "expired on 2035-12-30",
        "CN=middle",
        "CN=root",
    ]
    assert middle in said[1]


# With a statement.


class Signed(NamedTuple):
    """A statement, and the files that are there beside it."""

    statement: Statement
    system: System

    def load(self, settings: Policy = WINDOW, **changes: Any) -> TrustSet:
        return self.system.load(settings, statement=self.statement._replace(**changes))


@pytest.fixture
def signed(system: System) -> Signed:
    """Of 43 and 41; there are files of 43, other ones, and of 44."""
    root = certificate.load_root(system.anchor(), "root.pem")

    def release(name: str, version: int) -> StatementRelease:
        held = certificate.load(system.release(name), "trust.json")
        return StatementRelease(f"fedora:{version}", version, (held,))

    system.put(system.release("file43"), "fedora:43", "release")
    system.put(system.release("file44"), "fedora:44", "release")
    every = (release("s43", 43), release("s41", 41))
    revoked = (Digest(SHA256, bytes(32)),)
    return Signed(Statement("fedora", 5, NOW, every, revoked, (), "trust.json", root), system)


def test_a_statement_replaces_the_files(signed: Signed) -> None:
    trust = signed.load()
    assert names(trust) == ["s43"]
    assert (trust.origin, trust.statement) == (model.STATEMENT, 5)
    assert trust.floors == {"fedora:43": 43, "fedora:41": 41}
    assert trust.revoked == signed.statement.revoked
    assert sorted(one.reason for one in trust.ignored) == [
        model.NOT_IN_STATEMENT,
        model.NOT_IN_STATEMENT,
        model.OUTSIDE,
    ]
    signed.system.put(b"nothing", "fedora:43", "broken")
    assert names(signed.load()) == ["s43"]


def test_certificates_of_a_statement_need_an_anchor_too(signed: Signed) -> None:
    stranger = certificate.load(signed.system.release("rogue", by="stranger"), "trust.json")
    own = signed.statement.releases[0]
    changed = own._replace(certificates=(*own.certificates, stranger))
    trust = signed.load(releases=(changed,))
    assert names(trust) == ["s43"]
    assert model.NOT_VOUCHED in reasons(trust).values()


def test_a_mask_counts_against_a_statement(signed: Signed) -> None:
    data = signed.statement.releases[0].certificates[0]
    pem = signed.system.release("again", key="s43")
    assert certificate.key_in(pem) == certificate.key_bytes(data.public_key)
    signed.system.put(pem, "fedora:41", "lost")
    signed.system.mask("fedora:41", "lost", ETC)
    with pytest.raises(VerisealError) as caught:
        signed.load()
    assert caught.value.reason == "no-certificates"
    assert "which is masked" in str(caught.value)


def test_a_revoked_certificate_and_its_key(signed: Signed) -> None:
    path = signed.system.put(signed.system.release("old", key="s43"), "fedora:41", "old")
    known = certificate.load(Path(path).read_bytes(), path)
    with pytest.raises(VerisealError) as caught:
        signed.load(revoked_certificates=(known.fingerprint,))
    assert "its key is that of a certificate which the statement revokes" in str(caught.value)
    own = signed.statement.releases[0].certificates[0]
    with pytest.raises(VerisealError) as caught:
        signed.load(revoked_certificates=(own.fingerprint,))
    assert "revoked by the trust statement" in str(caught.value)


def test_a_revoked_anchor_and_a_revoked_intermediate(signed: Signed) -> None:
    system = signed.system
    other = certificate.load_root(system.anchor("other"), "other.pem")
    middle = certificate.load_root(system.authority("middle", "root"), "middle.pem")
    system.put(middle.x509.public_bytes(Encoding.PEM), "fedora", "middle")
    issued = [
        certificate.load(system.release(name, by), "trust.json")
        for name, by in (("by-other", "other"), ("by-middle", "middle"), ("by-root", "root"))
    ]
    release = StatementRelease("fedora:43", 0, tuple(issued))
    assert names(signed.load(releases=(release,))) == ["by-other", "by-middle", "by-root"]
    revoked = (other.fingerprint, middle.fingerprint)
    trust = signed.load(releases=(release,), revoked_certificates=revoked)
    assert names(trust) == ["by-root"]
    assert list(reasons(trust).values()).count(model.REVOKED) == 2


def test_dates_of_a_statements_certificates(signed: Signed) -> None:
    at = seconds(2099)
    warned = signed.system.load(WINDOW, at=at, statement=signed.statement)
    assert warned.releases[0].warnings[0] == "expired on 2035-12-30"
    enforced = WINDOW._replace(dates="enforce")
    signed.system.refused("no-anchor", enforced, at=at, statement=signed.statement)


def test_a_masked_file_with_several_certificates(system: System) -> None:
    system.put(system.release("good"), "fedora:43", "good")
    both = system.release("bad") + b"text\n" + system.release("worse")
    system.put(both, "fedora:43", "bundle")
    system.mask("fedora:43", "bundle", ETC)
    system.put(system.release("again", key="bad"), "fedora:43", "again")
    system.put(system.release("more", key="worse"), "fedora:43", "more")
    trust = system.load()
    assert names(trust) == ["good"]
    masked = {path.rpartition("/")[2] for path in reasons(trust)}
    assert masked == {"bundle.pem", "again.pem", "more.pem"}
    assert set(reasons(trust).values()) == {model.MASKED}


def test_a_revoked_certificate_that_nothing_could_use(signed: Signed) -> None:
    """Its key does not come back."""
    own = signed.statement.releases[0].certificates[0]
    # An authority's usage and no release's: of use for neither.
    data = signed.system.release("odd", key="s43", usages=("crl_sign",))
    signed.system.put(data, "fedora:41", "odd")
    with pytest.raises(VerisealError):
        certificate.load(data, "odd")
    odd = next(iter(certificate.keys_in(data)))
    assert certificate.keys_in(data) == {odd: certificate.key_bytes(own.public_key)}
    assert names(signed.load()) == ["s43"]
    with pytest.raises(VerisealError) as caught:
        signed.load(revoked_certificates=(odd,))
    assert "trust.json (its key is that of a certificate which" in str(caught.value)
