"""The order of the seal, on a keyring that only keeps a record of what is done to it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from veriseal import certificate
from veriseal.boot import adopt, handed, seal
from veriseal.errors import VerisealError
from veriseal.kernel import keyring as kernel
from veriseal.kernel import sysctl
from veriseal.kernel.keyring import PROCESS_KEYRING, Key
from veriseal.trust.model import OUTSIDE, Ignored, Release, TrustSet

pytestmark = pytest.mark.unit

RING = 100


class Keyring:
    """A .fs-verity keyring with the kernel's rules that matter for the order."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.keys: dict[int, Key] = {RING: Key(RING, "keyring", 0, 0x082F0000, ".fs-verity")}
        self.linked: list[int] = []
        self.restricted = False
        self.refuses_with = errno.EPERM
        self.required = False
        self.names: dict[bytes, str] = {}
        self.fail: str | None = None

    def fs_verity_keyring(self) -> int:
        return RING

    def describe(self, serial: int) -> Key:
        return self.keys[serial]

    def contents(self, _ring: int) -> list[int]:
        return list(self.linked)

    def add_certificate(self, der: bytes, ring: int = PROCESS_KEYRING) -> int:
        self._do("add", ring)
        if ring == RING and self.keys[RING].permissions == seal.KEYRING_MASK:
            raise OSError(errno.EACCES, "no write permission")
        if ring == RING and self.restricted:
            raise OSError(self.refuses_with, "restricted")
        serial = RING + len(self.keys)
        self.keys[serial] = Key(serial, "asymmetric", 0, 0x3F010000, self.names.get(der, "probe"))
        if ring == RING:
            self.linked.append(serial)
        return serial

    def link(self, serial: int, _ring: int) -> None:
        self._do("link", serial)
        if self.keys[serial].permissions == seal.KEY_MASK:
            raise OSError(errno.EACCES, "no link permission")
        self.linked.append(serial)

    def unlink(self, serial: int, ring: int) -> None:
        self._do("unlink", serial, ring)
        if ring == RING:
            self.linked.remove(serial)

    def set_permissions(self, serial: int, permissions: int) -> None:
        self._do("set permissions", serial)
        self.keys[serial] = self.keys[serial]._replace(permissions=permissions)

    def restrict(self, _ring: int) -> None:
        self._do("restrict")
        self.restricted = True

    def require_signatures(self) -> None:
        self._do("sysctl")
        self.required = True

    def _do(self, name: str, *arguments: object) -> None:
        self.calls.append((name, *arguments))
        if name == self.fail:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), f"keyctl {name}")

    def done(self) -> list[object]:
        """What was done, without arguments."""
        return [call[0] for call in self.calls]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    fake = Keyring()
    for name in "fs_verity_keyring describe contents add_certificate link unlink".split():
        monkeypatch.setattr(kernel, name, getattr(fake, name))
    for name in ("set_permissions", "restrict"):
        monkeypatch.setattr(kernel, name, getattr(fake, name))
    monkeypatch.setattr(sysctl, "require_signatures", fake.require_signatures)
    monkeypatch.setattr(sysctl, "read_require_signatures", lambda: fake.required)
    return fake


@pytest.fixture
def trust(
    ring: Keyring, certify: Callable[..., bytes], rsa_key: object, ec_key: object
) -> TrustSet:
    """Two certificates, known to the keyring under the names that the kernel would give."""
    releases = []
    for number, key in enumerate((rsa_key, ec_key)):
        loaded = certificate.load(certify(key), f"/{number}.pem")
        ring.names[loaded.der] = f"{loaded.subject}: {loaded.skid.hex()}"
        releases.append(Release("fedora:43", loaded))
    return TrustSet(releases, [], [], {"fedora:43": "current"})


def steps(_id: str, _text: str, _priority: int = 0) -> None:
    pass


ENROL = ["add", "link", "set permissions", "unlink"]


def test_a_key_is_linked_before_its_permissions_are_cut_and_the_ring_last(
    ring: Keyring, trust: TrustSet
) -> None:
    sealed = seal.seal(trust, steps)
    assert ring.done() == [
        *ENROL,
        *ENROL,
        *("restrict", "add"),
        "set permissions",
        "sysctl",
        "add",
    ]
    assert ring.keys[RING].permissions == seal.KEYRING_MASK == 0x08030000
    assert [key.serial for key in sealed.keys] == ring.linked
    # The agent itself must not go on possessing the keys.
    unlinked = [call[1:] for call in ring.calls if call[0] == "unlink"]
    assert unlinked == [(serial, PROCESS_KEYRING) for serial in ring.linked]


def test_each_step_is_told_after_it_was_done(ring: Keyring, trust: TrustSet) -> None:
    told: list[int] = []
    seal.seal(trust, lambda _id, _text: told.append(len(ring.calls)))
    assert told == [4, 8, 10, 11, 12, 13]


def test_a_keyring_with_a_strangers_key_is_not_touched(ring: Keyring, trust: TrustSet) -> None:
    ring.add_certificate(b"stranger", RING)
    ring.calls.clear()
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "unknown-keys"
    assert ring.calls == []


@pytest.mark.parametrize("operation", ["link", "set permissions", "restrict"])
def test_a_failure_before_the_restriction_takes_all_keys_out_again(
    ring: Keyring, trust: TrustSet, operation: str
) -> None:
    ring.fail = operation
    with pytest.raises(VerisealError):
        seal.seal(trust, steps)
    assert not ring.required
    assert ring.linked == []


def test_a_restriction_that_restricts_nothing_is_noticed(
    ring: Keyring, trust: TrustSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "restrict", lambda _ring: None)
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "restrict-failed"
    assert ring.linked == []


def test_a_sysctl_that_does_not_stick_is_noticed(
    ring: Keyring, trust: TrustSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctl, "require_signatures", lambda: None)
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "read-back-failed"
    assert "require_signatures" in str(caught.value)


def test_a_key_under_another_identifier_than_ours_is_noticed(
    ring: Keyring, trust: TrustSet
) -> None:
    ring.names = dict.fromkeys(ring.names, "name: 00")
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "enrol-failed"
    assert ring.linked == []


def test_a_restricted_keyring_is_named_as_such(
    ring: Keyring, trust: TrustSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_serial: int, _ring: int) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(kernel, "link", refuse)
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "already-restricted"


def test_a_second_run_compares_and_changes_nothing(ring: Keyring, trust: TrustSet) -> None:
    sealed = seal.Sealed.from_json(seal.seal(trust, steps).as_json())
    ring.calls.clear()
    assert seal.is_sealed()
    assert seal.check_again(trust, sealed, steps) == sealed
    assert ring.calls == []


def test_a_second_run_with_other_certificates_is_refused(ring: Keyring, trust: TrustSet) -> None:
    sealed = seal.seal(trust, steps)
    with pytest.raises(VerisealError) as caught:
        seal.check_again(trust._replace(releases=trust.releases[:1]), sealed, steps)
    assert caught.value.reason == "other-certificates"


GOOD_JSON = {"keys": [], "serial": 7, "permissions": "0x08030000", "sealed_by": "veriseal"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {**GOOD_JSON, "serial": "x"},
        {**GOOD_JSON, "permissions": "rwx"},
        {**GOOD_JSON, "sealed_by": "somebody"},
        {**GOOD_JSON, "takes": "anything"},
        {**GOOD_JSON, "keys": [{"serial": 1}]},
    ],
)
def test_a_damaged_report_of_the_keyring(data: object) -> None:
    with pytest.raises(VerisealError) as caught:
        seal.Sealed.from_json(data)
    assert caught.value.reason == "report-damaged"


# A keyring that another service has filled and sealed.

NEW_MASK, OLD_MASK = adopt.SEALED, adopt.UNREADABLE
VOUCHED = "only certificates that an enrolled key has signed"


@pytest.fixture(autouse=True)
def initrd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A root directory in which nobody has handed in anything."""
    found = handed.found
    monkeypatch.setattr(handed, "found", lambda: found(str(tmp_path)))
    return tmp_path


def fill(ring: Keyring, trust: TrustSet, mask: int = NEW_MASK, restricted: bool = True) -> None:
    """As systemd-keyring-setup leaves the keyring."""
    ring.refuses_with = errno.ENOKEY
    for release in trust.releases:
        ring.add_certificate(release.certificate.der, RING)
    ring.restricted = restricted
    ring.keys[RING] = ring.keys[RING]._replace(permissions=mask)
    ring.calls.clear()


def refusal(trust: TrustSet) -> VerisealError:
    with pytest.raises(VerisealError) as caught:
        adopt.adopt(trust, steps)
    return caught.value


def test_what_another_service_sealed_is_taken_over(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust)
    assert adopt.is_sealed_by_another()
    assert not seal.is_sealed()
    linked = list(ring.linked)
    sealed = adopt.adopt(trust, steps)
    assert (sealed.by, sealed.mask) == ("another service", NEW_MASK)
    assert sealed.takes == sealed.as_json()["takes"] == VOUCHED
    assert ring.linked == linked == [key.serial for key in sealed.keys]
    assert ring.required
    wanted = [one.certificate.fingerprint for one in trust.releases]
    assert [key.fingerprint for key in sealed.keys] == wanted
    assert {key.permissions for key in sealed.keys} == {"0x3f010000"}
    # Nothing of what was sealed is touched, and this process keeps no key.
    assert not {"restrict", "set permissions", "link"} & set(ring.done())
    added = [call for call in ring.calls if call == ("add", PROCESS_KEYRING)]
    gone = [call for call in ring.calls if call[0] == "unlink" and call[2] == PROCESS_KEYRING]
    assert len(added) == len(gone) == 2
    again = seal.Sealed.from_json(sealed.as_json())
    assert again == sealed
    assert seal.check_again(trust, again, steps) == sealed


def test_a_strangers_key_in_a_sealed_keyring(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust)
    ring.restricted = False
    ring.add_certificate(b"stranger", RING)
    ring.restricted = True
    error = refusal(trust)
    assert error.reason == "unknown-keys"
    assert error.found == "probe"
    assert not ring.required


def test_a_key_that_is_known_and_does_not_count_is_named_with_the_reason(
    ring: Keyring, trust: TrustSet
) -> None:
    fill(ring, trust)
    first, second = trust.releases
    why = "for fedora:42, which is outside the window"
    outside = Ignored("/old.pem", OUTSIDE, why, "fedora:42", second.certificate)
    error = refusal(trust._replace(releases=[first], ignored=[outside]))
    assert error.reason == "unknown-keys"
    assert f"(/old.pem: {why})" in str(error.found)


def test_a_key_of_another_kind_with_a_good_description(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust)
    serial = ring.linked[0]
    ring.keys[serial] = ring.keys[serial]._replace(type="user")
    assert refusal(trust).reason == "unknown-keys"


def test_permissions_alone_are_no_seal(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust, restricted=False)
    linked = list(ring.linked)
    assert refusal(trust).reason == "restrict-failed"
    assert ring.linked == linked
    assert not ring.required


def test_a_restriction_that_takes_nothing(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust)
    ring.refuses_with = errno.EPERM
    assert adopt.adopt(trust, steps).takes == "no further key"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EKEYREJECTED, errno.ENOPKG, errno.EDQUOT])
def test_a_refusal_that_is_none_of_a_restriction(
    ring: Keyring, trust: TrustSet, number: int
) -> None:
    fill(ring, trust)
    ring.refuses_with = number
    error = refusal(trust)
    assert error.reason == "restrict-failed"
    assert (error.expected, error.found) == ("EPERM or ENOKEY", errno.errorcode[number])
    assert not ring.required


def test_our_own_keyring_takes_nothing_at_all(ring: Keyring, trust: TrustSet) -> None:
    ring.refuses_with = errno.ENOKEY
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "restrict-failed"


def test_a_sealed_keyring_without_a_key(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust._replace(releases=[]))
    error = refusal(trust)
    assert error.reason == "sealed-by-another"
    assert "without a key in it" in error.problem


def test_a_sealed_keyring_that_nobody_may_list(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust, OLD_MASK)
    error = refusal(trust)
    assert error.reason == "sealed-by-another"
    assert "nobody can list its keys" in error.problem
    assert error.found == "permissions 0x08010000"
    assert not ring.required


HANDED_IN = [
    "run/credentials/@system/keyring-setup.fs-verity.x",
    "run/credentials/@encrypted/keyring-setup.fs-verity.x",
    "run/credentials/@initrd/keyring-setup.os",
    "run/credentials/systemd-keyring-setup.service/keyring-setup.fs-verity.x",
    "run/credstore/keyring-setup.fs-verity.x",
    "run/credstore.encrypted/keyring-setup.fs-verity.x",
    "run/voa/debian/kernel-keyring/fs-verity/x509/x-certificate.pem",
    "run/voa/stray",
]


@pytest.mark.parametrize("path", HANDED_IN)
def test_where_a_certificate_was_handed_in_no_key_is_what_its_name_says(
    ring: Keyring, trust: TrustSet, initrd: Path, path: str
) -> None:
    fill(ring, trust)
    (initrd / path).parent.mkdir(parents=True)
    (initrd / path).touch()
    error = refusal(trust)
    assert error.reason == "sealed-by-another"
    assert error.found == str(initrd / path)
    assert ring.calls == []
    (initrd / path).unlink()
    assert adopt.adopt(trust, steps).by == seal.OTHER


@pytest.mark.parametrize("path", ["run/voa", "run/voa/debian", "run/credentials/keyring-setup.x"])
def test_a_link_is_not_followed_and_counts(
    ring: Keyring, trust: TrustSet, initrd: Path, path: str
) -> None:
    fill(ring, trust)
    (initrd / path).parent.mkdir(parents=True)
    (initrd / path).symlink_to(initrd)
    assert refusal(trust).found == str(initrd / path)


def test_many_that_were_handed_in_are_counted(ring: Keyring, trust: TrustSet, initrd: Path) -> None:
    fill(ring, trust)
    (initrd / "run/voa").mkdir(parents=True)
    for number in range(1000):
        (initrd / f"run/voa/{number}").touch()
    error = refusal(trust)
    assert str(error.found).endswith("; and 992 more")


def test_other_credentials_do_not_matter(ring: Keyring, trust: TrustSet, initrd: Path) -> None:
    fill(ring, trust)
    for path in ("run/credentials/@system/network.dns", "run/voa/debian/image"):
        (initrd / path).mkdir(parents=True)
    (initrd / "run/credentials/@system/tty.console").touch()
    assert adopt.adopt(trust, steps).by == seal.OTHER


def test_what_the_other_service_left_out_does_not_count_and_is_named(
    ring: Keyring, trust: TrustSet
) -> None:
    fill(ring, trust._replace(releases=trust.releases[:1]))
    told: list[str] = []
    sealed = adopt.adopt(trust, lambda _id, text, _priority=0: told.append(text))
    assert len(sealed.keys) == 1
    missing = trust.releases[1].certificate.subject
    assert [text for text in told if text.startswith("not enrolled")][0].endswith(missing)
    seal.require_same(trust, sealed)
    with pytest.raises(VerisealError) as caught:
        seal.require_same(trust._replace(releases=trust.releases[1:]), sealed)
    assert caught.value.reason == "other-certificates"


def test_a_keyring_that_is_filled_and_not_sealed_is_nobodys(ring: Keyring, trust: TrustSet) -> None:
    fill(ring, trust, 0x082F0000, restricted=False)
    assert not adopt.is_sealed_by_another()
    with pytest.raises(VerisealError) as caught:
        seal.seal(trust, steps)
    assert caught.value.reason == "unknown-keys"


RING_LINE = "1911bb55 I------     1 perm 082f0000     0     0 keyring   .fs-verity: "


@pytest.mark.parametrize(
    ("line", "serial"),
    [
        (f"{RING_LINE}empty\n", 0x1911BB55),
        (f"{RING_LINE}2\n", 0x1911BB55),
        (
            "1911bb55 I------     1 perm 082f0000     0     0 keyring   .fs-verity: empty\n",
            0x1911BB55,
        ),
        ("1911bb55 I------     1 perm 082f0000  1000     0 keyring   .fs-verity: 2\n", None),
        ("1911bb55 I------     1 perm 082f0000     0     0 user      .fs-verity: 2\n", None),
        ("1911bb55 I------     1 perm 082f0000     0     0 keyring   a: .fs-verity: 2\n", None),
        ("1911bb55 I------     1 perm 082f0000     0     0 keyring   .fs-verity2: 2\n", None),
        ("zz I------     1 perm 082f0000     0     0 keyring   .fs-verity: 2\n", None),
        ("\n", None),
    ],
)
def test_only_roots_own_keyring_is_found(line: str, serial: int | None) -> None:
    assert kernel.parse_proc_keys_line(line, "keyring", ".fs-verity") == serial
