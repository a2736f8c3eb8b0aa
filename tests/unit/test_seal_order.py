"""The order of the seal, on a keyring that only keeps a record of what is done to it."""

import errno
import os
from collections.abc import Callable

import pytest

from veriseal import certificate
from veriseal.boot import seal
from veriseal.boot.plan import Plan, Release
from veriseal.errors import VerisealError
from veriseal.kernel import keyring as kernel
from veriseal.kernel import sysctl
from veriseal.kernel.keyring import PROCESS_KEYRING, Key

pytestmark = pytest.mark.unit

RING = 100


class Keyring:
    """A .fs-verity keyring with the kernel's rules that matter for the order."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.keys: dict[int, Key] = {RING: Key(RING, "keyring", 0, 0x082F0000, ".fs-verity")}
        self.linked: list[int] = []
        self.restricted = False
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
            raise OSError(errno.EPERM, "restricted")
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
def plan(ring: Keyring, certify: Callable[..., bytes], rsa_key: object, ec_key: object) -> Plan:
    """Two certificates, known to the keyring under the names that the kernel would give."""
    releases = []
    for number, key in enumerate((rsa_key, ec_key)):
        loaded = certificate.load(certify(key), f"/{number}.pem")
        ring.names[loaded.der] = f"{loaded.subject}: {loaded.skid.hex()}"
        releases.append(Release("fedora:43", loaded))
    return Plan(releases, [])


def steps(_id: str, _text: str) -> None:
    pass


ENROL = ["add", "link", "set permissions", "unlink"]


def test_a_key_is_linked_before_its_permissions_are_cut_and_the_ring_last(
    ring: Keyring, plan: Plan
) -> None:
    sealed = seal.seal(plan, steps)
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


def test_each_step_is_told_after_it_was_done(ring: Keyring, plan: Plan) -> None:
    told: list[int] = []
    seal.seal(plan, lambda _id, _text: told.append(len(ring.calls)))
    assert told == [4, 8, 10, 11, 12, 13]


def test_a_keyring_with_a_strangers_key_is_not_touched(ring: Keyring, plan: Plan) -> None:
    ring.add_certificate(b"stranger", RING)
    ring.calls.clear()
    with pytest.raises(VerisealError) as caught:
        seal.seal(plan, steps)
    assert caught.value.reason == "unknown-keys"
    assert ring.calls == []


@pytest.mark.parametrize("operation", ["link", "set permissions", "restrict"])
def test_a_failure_before_the_restriction_takes_all_keys_out_again(
    ring: Keyring, plan: Plan, operation: str
) -> None:
    ring.fail = operation
    with pytest.raises(VerisealError):
        seal.seal(plan, steps)
    assert not ring.required
    assert ring.linked == []


def test_a_restriction_that_restricts_nothing_is_noticed(
    ring: Keyring, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "restrict", lambda _ring: None)
    with pytest.raises(VerisealError) as caught:
        seal.seal(plan, steps)
    assert caught.value.reason == "restrict-failed"
    assert ring.linked == []


def test_a_sysctl_that_does_not_stick_is_noticed(
    ring: Keyring, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctl, "require_signatures", lambda: None)
    with pytest.raises(VerisealError) as caught:
        seal.seal(plan, steps)
    assert caught.value.reason == "read-back-failed"
    assert "require_signatures" in str(caught.value)


def test_a_key_under_another_identifier_than_ours_is_noticed(ring: Keyring, plan: Plan) -> None:
    ring.names = dict.fromkeys(ring.names, "name: 00")
    with pytest.raises(VerisealError) as caught:
        seal.seal(plan, steps)
    assert caught.value.reason == "enrol-failed"
    assert ring.linked == []


def test_a_restricted_keyring_is_named_as_such(
    ring: Keyring, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_serial: int, _ring: int) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(kernel, "link", refuse)
    with pytest.raises(VerisealError) as caught:
        seal.seal(plan, steps)
    assert caught.value.reason == "already-restricted"


def test_a_second_run_compares_and_changes_nothing(ring: Keyring, plan: Plan) -> None:
    sealed = seal.Sealed.from_json(seal.seal(plan, steps).as_json())
    ring.calls.clear()
    assert seal.is_sealed()
    assert seal.check_again(plan, sealed, steps) == sealed
    assert ring.calls == []


def test_a_second_run_with_other_certificates_is_refused(ring: Keyring, plan: Plan) -> None:
    sealed = seal.seal(plan, steps)
    with pytest.raises(VerisealError) as caught:
        seal.check_again(Plan(plan.releases[:1], []), sealed, steps)
    assert caught.value.reason == "other-certificates"


@pytest.mark.parametrize("data", [None, {}, {"keys": [], "serial": "x", "permissions": "0"}])
def test_a_damaged_report_of_the_keyring(data: object) -> None:
    with pytest.raises(VerisealError) as caught:
        seal.Sealed.from_json(data)
    assert caught.value.reason == "report-damaged"


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
