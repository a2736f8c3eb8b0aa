"""What the next initrd is given, and which one is not made: `veriseal boot install`."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from veriseal import certificate, domain, merkle, osrelease, policy, report, signature
from veriseal.boot import floor, gather, initrd
from veriseal.boot.floor import Floor
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, Digest
from veriseal.errors import VerisealError
from veriseal.manifest import Manifest
from veriseal.manifest import serialize as manifest_bytes
from veriseal.merkle import Parameters
from veriseal.policy import Policy
from veriseal.trust import model, statement
from veriseal.trust.statement import Statement, StatementRelease

pytestmark = pytest.mark.unit

Certify = Callable[..., bytes]
OS = {"ID": "debian", "VERSION_ID": "13"}
ROOT = {"ca": True, "usages": ("key_cert_sign", "crl_sign"), "purposes": None}
CREATED = 1_790_000_000
IMAGE = "image/default/x509"
ANCHOR = "trust-anchor-image/default/x509"


class Signer(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    pem: bytes
    certificate: Certificate

    def sign(self, data: bytes, kind: Parameters = domain.MANIFEST) -> bytes:
        return signature.make(merkle.data_digest(data, kind), self.key, self.certificate)


class System:
    """An installed system to make an initrd of, and the initrd."""

    def __init__(self, top: Path, certify: Certify) -> None:
        self.root = top / "root"
        self.target = top / "initrd"
        self.certify = certify
        for path in ("etc/voa", "run/voa", "usr/share/voa", "usr/local/share/voa", "var"):
            (self.root / path).mkdir(parents=True)
        self.target.mkdir()
        self.anchor = self.new_root("Acme")
        self.old, self.own, self.new = (self.issue(f"debian:{n}") for n in (12, 13, 14))

    def new_root(self, name: str) -> Signer:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = self.certify(key, subject=name, **ROOT)
        return Signer(key, pem, certificate.load_root(pem, name))

    def issue(self, name: str) -> Signer:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = self.certify(key, subject=f"Acme {name}", issuer="Acme", signer=self.anchor.key)
        return Signer(key, pem, certificate.load(pem, name))

    def put(self, path: str, data: bytes | Path) -> Path:
        """A file of the system, or a link to what a Path says."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            place.symlink_to(data)
        else:
            place.write_bytes(data)
        return place

    def put_usual(self) -> None:
        self.put(f"usr/share/voa/debian:13/{IMAGE}/release.pem", self.own.pem)
        self.put(f"usr/share/voa/debian/{ANCHOR}/acme.pem", self.anchor.pem)

    def put_manifest(self, version: int, signer: Signer, os_name: str = "debian:13") -> None:
        directory = "usr/lib/veriseal/manifest"
        image = Digest(SHA256, bytes(32))
        data = manifest_bytes(Manifest(os_name, version, CREATED, image=image))
        self.put(f"{directory}/manifest.json", data)
        self.put(f"{directory}/manifest.json.1.sig", signer.sign(data))

    def put_statement(
        self, version: int, *releases: tuple[str, Signer], path: str = "etc/trust.json", **more: Any
    ) -> None:
        said = Statement(
            "debian",
            version,
            CREATED,
            tuple(StatementRelease(name, 5, (one.certificate,)) for name, one in releases),
            (),
            (),
            path,
            self.anchor.certificate,
        )._replace(**more)
        data = statement.serialize(said)
        self.put(path, data)
        self.put(f"{path}.acme.sig", self.anchor.sign(data, domain.STATEMENT))

    def install(self, **settings: Any) -> initrd.Installed:
        return initrd.install(str(self.target), Policy(**settings), OS, str(self.root))

    def refused(self, reason: str, **settings: Any) -> VerisealError:
        with pytest.raises(VerisealError) as caught:
            self.install(**settings)
        assert caught.value.reason == reason, str(caught.value)
        assert not (self.target / floor.PATH.lstrip("/")).exists() or reason == "initrd-incomplete"
        return caught.value

    def given(self) -> set[str]:
        """Every file and link in the initrd."""
        return {
            os.path.relpath(os.path.join(place, name), self.target)
            for place, directories, names in os.walk(self.target)
            for name in (*names, *(d for d in directories if os.path.islink(f"{place}/{d}")))
        }

    def floor(self) -> Floor:
        return floor.read(str(self.target) + floor.PATH)


@pytest.fixture
def system(tmp_path: Path, certify: Certify, monkeypatch: pytest.MonkeyPatch) -> System:
    made = System(tmp_path, certify)
    booted(monkeypatch, Floor())
    return made


def booted(monkeypatch: pytest.MonkeyPatch, known: Floor) -> None:
    """This boot knows these versions."""
    monkeypatch.setattr(floor, "booted", lambda: known)


def subjects(found: initrd.Installed) -> list[str]:
    return [one.certificate.subject for one in found.gathered.trust.releases]


FLOOR = floor.PATH.lstrip("/")


def test_certificates_anchors_and_floor(system: System) -> None:
    system.put_usual()
    done = system.install(anchors="require")
    assert system.given() == {
        f"usr/share/voa/debian:13/{IMAGE}/release.pem",
        f"usr/share/voa/debian/{ANCHOR}/acme.pem",
        FLOOR,
    }
    assert (done.manifest, system.floor()) == (None, Floor())


def test_what_run_holds_is_not_taken(system: System) -> None:
    system.put(f"run/voa/debian:13/{IMAGE}/release.pem", system.own.pem)
    error = system.refused("no-certificates")
    assert "run/voa" in str(error.found)
    system.put_usual()
    system.install()
    assert not any(name.startswith("run") for name in system.given())


def test_masks_links_and_what_they_lead_to(system: System) -> None:
    system.put(f"usr/share/voa/debian:13/{IMAGE}/own.pem", system.own.pem)
    system.put(f"usr/share/voa/debian:13/{IMAGE}/bad.pem", system.new.pem)
    system.put(f"etc/voa/debian:13/{IMAGE}/bad.pem", Path("/dev/null"))
    system.put(f"usr/share/voa/acme/{IMAGE}/old.pem", system.old.pem)
    link = f"etc/voa/debian:12/{IMAGE}/old.pem"
    system.put(link, Path(f"/usr/share/voa/acme/{IMAGE}/old.pem"))
    system.put("usr/share/voa/debian:11/image", Path("../debian:13/image"))
    done = system.install(previous=("debian:12",))
    assert subjects(done) == ["CN=Acme debian:12", "CN=Acme debian:13"]
    assert os.readlink(system.target / link) == f"/usr/share/voa/acme/{IMAGE}/old.pem"
    assert os.readlink(system.target / f"etc/voa/debian:13/{IMAGE}/bad.pem") == "/dev/null"
    assert os.readlink(system.target / "usr/share/voa/debian:11/image") == "../debian:13/image"


def test_what_a_link_out_of_the_load_paths_leads_to_is_not_taken(system: System) -> None:
    system.put_usual()
    system.put("var/secret.pem", b"secret")
    system.put(f"etc/voa/debian:13/{IMAGE}/secret.pem", Path("/var/secret.pem"))
    system.put(f"etc/voa/debian:13/{IMAGE}/up.pem", Path("../../../../../../var/secret.pem"))
    system.install()
    assert not any(name.startswith("var") for name in system.given())
    assert all(b"secret" not in path.read_bytes() for path in files(system.target))


def files(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]


def test_links_in_circles_and_fifos_end(system: System) -> None:
    system.put_usual()
    system.put(f"etc/voa/debian:13/{IMAGE}/a.pem", Path("a.pem"))
    system.put(f"usr/share/voa/debian:9/{IMAGE}/down", Path("."))
    system.put("usr/share/voa/debian:8", Path("debian:7"))
    system.put("usr/share/voa/debian:7", Path("debian:8"))
    os.mkfifo(system.root / f"etc/voa/debian:13/{IMAGE}/fifo.pem")
    started = time.monotonic()
    assert subjects(system.install()) == ["CN=Acme debian:13"]
    assert time.monotonic() - started < 10


def test_a_load_path_behind_a_link_as_with_ostree(system: System) -> None:
    (system.root / "usr/local/share/voa").rmdir()
    (system.root / "usr/local/share").rmdir()
    (system.root / "usr/local").rmdir()
    system.put("usr/local", Path("../var/usrlocal"))
    system.put(f"var/usrlocal/share/voa/debian:13/{IMAGE}/release.pem", system.own.pem)
    system.install()
    assert f"usr/local/share/voa/debian:13/{IMAGE}/release.pem" in system.given()
    assert not (system.target / "usr/local").is_symlink()


def test_a_certificate_outside_the_window_goes_along_and_does_not_count(system: System) -> None:
    system.put_usual()
    system.put(f"usr/share/voa/debian:12/{IMAGE}/release.pem", system.old.pem)
    done = system.install()
    assert subjects(done) == ["CN=Acme debian:13"]
    again = gather.installed(Policy(), OS, Floor(), str(system.target))
    (ignored,) = again.trust.ignored
    assert (ignored.reason, ignored.os) == (model.OUTSIDE, "debian:12")
    assert ignored.certificate is not None


def test_what_is_in_the_way_in_the_initrd_is_found(system: System) -> None:
    system.put_usual()
    stray = system.target / f"etc/voa/debian:13/{IMAGE}/stray.pem"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(system.new.pem)
    system.refused("initrd-incomplete")


def test_the_floor_is_that_of_the_manifest_or_of_this_boot(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.put_usual()
    system.put_manifest(7, system.own)
    assert system.install().manifest == 7
    assert system.floor() == Floor(7, CREATED)
    booted(monkeypatch, Floor(6, CREATED + 5, 3))
    system.install()
    assert system.floor() == Floor(7, CREATED + 5, 3)
    booted(monkeypatch, Floor(8))
    os.unlink(system.target / FLOOR)
    system.refused("rolled-back")


def test_a_manifest_that_a_dropped_release_has_signed(system: System) -> None:
    system.put_usual()
    system.put(f"usr/share/voa/debian:12/{IMAGE}/release.pem", system.old.pem)
    system.put_manifest(7, system.old)
    error = system.refused("manifest-not-signed")
    assert "usr/share/voa/debian:12" in str(error.found)
    assert "outside the window" in str(error.found)
    assert "trust.previous" in str(error.remedy)


def test_an_expired_signer_where_dates_are_enforced(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.put(f"usr/share/voa/debian:13/{IMAGE}/release.pem", system.own.pem)
    system.put_manifest(7, system.own)
    monkeypatch.setattr(time, "time", lambda: 4_070_908_800.0)  # 2099
    error = system.refused("no-certificates", dates="enforce")
    assert "expired on 2035" in str(error.found)
    (warning,) = system.install().gathered.warnings()
    assert "expired on 2035" in warning
    assert system.install(dates="ignore").gathered.warnings() == []


def test_a_clock_at_1970_is_put_right_by_what_this_machine_knows(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.put(f"usr/share/voa/debian:13/{IMAGE}/release.pem", system.own.pem)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    error = system.refused("no-certificates", dates="enforce")
    assert "not valid before 2026-01-01" in str(error.found)
    booted(monkeypatch, Floor(1, CREATED))
    system.install(dates="enforce")


def test_a_manifest_from_after_its_signers_last_day(system: System) -> None:
    """The clock may be wrong; what the manifest says of itself is not earlier than the truth."""
    system.put_usual()
    directory = "usr/lib/veriseal/manifest"
    image = Digest(SHA256, bytes(32))
    data = manifest_bytes(Manifest("debian:13", 7, 4_070_908_800, image=image))
    system.put(f"{directory}/manifest.json", data)
    system.put(f"{directory}/manifest.json.1.sig", system.own.sign(data))
    error = system.refused("manifest-not-signed", dates="enforce")
    assert "expired on 2035" in str(error.found)
    assert system.install().manifest == 7


def test_a_manifest_from_after_its_anchors_last_day(system: System, certify: Certify) -> None:
    key = system.anchor.key
    pem = certify(key, subject="Acme", year=2020, **ROOT)
    system.put(f"usr/share/voa/debian:13/{IMAGE}/release.pem", system.own.pem)
    anchor = system.put(f"usr/share/voa/debian/{ANCHOR}/acme.pem", pem)
    directory = "usr/lib/veriseal/manifest"
    image = Digest(SHA256, bytes(32))
    data = manifest_bytes(Manifest("debian:13", 7, 1_956_528_000, image=image))  # 2032
    system.put(f"{directory}/manifest.json", data)
    system.put(f"{directory}/manifest.json.1.sig", system.own.sign(data))
    error = system.refused("manifest-not-signed", dates="enforce")
    assert f"its anchor CN=Acme ({anchor}) expired on 20" in str(error.found)
    assert system.install().manifest == 7


# The trust statement


STATED = {"statement": "/etc/trust.json"}


def test_a_statement_goes_along_with_its_signatures(system: System) -> None:
    system.put_usual()
    system.put_statement(3, ("debian:13", system.new))
    done = system.install(**STATED)
    assert subjects(done) == ["CN=Acme debian:14"]
    assert {"etc/trust.json", "etc/trust.json.acme.sig"} <= system.given()
    assert system.floor() == Floor(0, 0, 3)


def test_a_statement_that_is_older_than_one_this_boot_knows(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.put_usual()
    system.put_statement(3, ("debian:13", system.own))
    booted(monkeypatch, Floor(statement=4))
    system.refused("statement-rolled-back", **STATED)


def test_a_floor_of_the_statement_for_the_manifest(system: System) -> None:
    system.put_usual()
    system.put_statement(3, ("debian:13", system.own))
    system.put_manifest(4, system.own)
    error = system.refused("rolled-back", **STATED)
    assert error.expected == "version 5 or newer"


def test_a_revoked_image(system: System) -> None:
    system.put_usual()
    system.put_statement(3, ("debian:13", system.own), revoked=(Digest(SHA256, bytes(32)),))
    system.put_manifest(5, system.own)
    system.refused("revoked", **STATED)


def test_a_revoked_certificate(system: System) -> None:
    system.put_usual()
    gone = (system.own.certificate.fingerprint,)
    system.put_statement(3, ("debian:13", system.new), revoked_certificates=gone)
    system.put_manifest(5, system.own)
    error = system.refused("manifest-not-signed", **STATED)
    assert "does not count" in str(error.found)


def unsigned(system: System) -> None:
    (system.root / "etc/trust.json.acme.sig").unlink()


def absent(system: System) -> None:
    (system.root / "etc/trust.json").unlink()


def fifo(system: System) -> None:
    absent(system)
    os.mkfifo(system.root / "etc/trust.json")


def link(system: System) -> None:
    (system.root / "etc/trust.json").rename(system.root / "var/trust.json")
    (system.root / "etc/trust.json").symlink_to("../var/trust.json")


def by_another(system: System) -> None:
    other = system.new_root("Other")
    data = (system.root / "etc/trust.json").read_bytes()
    (system.root / "etc/trust.json.acme.sig").write_bytes(other.sign(data, domain.STATEMENT))


def edited(system: System) -> None:
    path = system.root / "etc/trust.json"
    path.write_bytes(path.read_bytes().replace(b'"version": 3', b'"version": 9'))


UNUSABLE: dict[Callable[[System], None], str] = {
    unsigned: "statement-not-signed",
    absent: "no-statement",
    fifo: "no-statement",
    link: "no-statement",
    by_another: "statement-not-signed",
    edited: "statement-not-signed",
}


@pytest.mark.parametrize("spoil", UNUSABLE)
def test_a_statement_that_cannot_be_used(system: System, spoil: Callable[[System], None]) -> None:
    system.put_usual()
    system.put_statement(3, ("debian:13", system.new))
    spoil(system)
    system.refused(UNUSABLE[spoil], **STATED)
    done = system.install(**STATED, without_statement="built-in")
    assert subjects(done) == ["CN=Acme debian:13"]
    assert done.gathered.trust.origin == model.BUILT_IN
    assert "trust statement" in str(done.gathered.not_used)
    assert not any("trust.json" in name for name in system.given())


def test_without_an_anchor_no_statement_counts(system: System) -> None:
    system.put(f"usr/share/voa/debian:13/{IMAGE}/release.pem", system.own.pem)
    system.put_statement(3, ("debian:13", system.own))
    error = system.refused("statement-not-signed", **STATED)
    assert "anchor" in str(error)


DEVICE = {"statement": "/veriseal/trust.json", "statement_device": "/dev/disk/by-label/E-S%P"}


def test_a_device_gets_a_mount_unit_and_a_deadline(system: System) -> None:
    system.put_usual()
    done = system.install(**DEVICE)
    assert "is not mounted here" in str(done.gathered.not_used)
    units = system.target / "etc/systemd/system"
    name = "run-veriseal\\x2dtrust.mount"
    text = (units / name).read_text()
    assert "What=/dev/disk/by-label/E-S%%P\n" in text
    assert "Options=ro,nodev,nosuid,noexec\n" in text
    assert "Before=veriseal-seal.service\n" in text
    wants = units / "initrd-root-device.target.wants" / name
    assert wants.resolve() == units / name
    device = tool("systemd-escape", "--path", "--suffix=device", DEVICE["statement_device"])
    drop_in = units / f"{device}.d/50-veriseal.conf"
    assert drop_in.read_text() == "[Unit]\nJobRunningTimeoutSec=30\n"
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(units / name)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert name not in said.stderr, said.stderr


def test_a_device_that_a_running_machine_has_not_mounted(
    system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While an image is built nobody can look at it; a machine that was sealed can."""
    system.put_usual()
    made = tmp_path / "boot.json"
    made.touch()
    monkeypatch.setattr(report, "PATH", str(made))
    error = system.refused("statement-not-seen", **DEVICE)
    assert (error.path, "Mount it" in str(error)) == (DEVICE["statement_device"], True)
    made.unlink()
    system.install(**DEVICE)
    made.touch()
    system.install(**DEVICE, without_statement="built-in")


def test_a_device_whose_statement_alone_has_certificates(system: System) -> None:
    system.put(f"usr/share/voa/debian/{ANCHOR}/acme.pem", system.anchor.pem)
    assert system.refused("statement-not-seen", **DEVICE).path == DEVICE["statement_device"]


def test_a_boot_whose_clock_is_not_set(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes by the time of the floor."""
    system.put_usual()
    booted(monkeypatch, Floor(1, 1))
    assert "goes by 1970-01-01" in str(system.refused("clock-needed", dates="enforce"))
    system.install(dates="warn")
    booted(monkeypatch, Floor(1, CREATED))
    system.install(dates="enforce")


def tool(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout.strip()


@pytest.mark.parametrize("device", ["/dev/a b", "/dev/a\nExecStart=x", "/dev/\x1b"])
def test_a_device_that_would_break_out_of_its_unit(system: System, device: str) -> None:
    system.put_usual()
    system.refused("bad-configuration", **{**DEVICE, "statement_device": device})


@pytest.mark.parametrize(
    "path",
    ["/run/veriseal-trust", "/dev/disk/by-label/A\\x20B", "/", "/.hidden/x", "/a//b/", "/ä/%"],
)
def test_paths_are_escaped_as_systemd_does(path: str) -> None:
    assert initrd.escaped(path) == tool("systemd-escape", "--path", "--", path)


def test_the_command_line(
    system: System, cli: Callable[..., tuple[int, bytes, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    system.put_usual()
    real = initrd.install
    monkeypatch.setattr(osrelease, "read", lambda: OS)
    monkeypatch.setattr(policy, "load", lambda: Policy())
    root = str(system.root)
    monkeypatch.setattr(initrd, "install", lambda to, policy, names: real(to, policy, names, root))
    assert cli("boot", "install", str(system.target)) == (
        *(0, b""),
        "veriseal: no manifest is installed yet: the floor is version 0\n",
    )
    assert json.loads((system.target / FLOOR).read_bytes())["schema"] == floor.SCHEMA
    status, out, said = cli("boot", "install", str(system.target / "missing"))
    assert (status, out) == (2, b"")
    assert "not a directory" in said


def test_the_codecs_of_names_in_certificates() -> None:
    """`cryptography` looks up those of BMPString and UniversalString when it meets with one."""
    top = Path(__file__).parents[2]
    printed = subprocess.run(
        [sys.executable, "-I", top / "dracut/90veriseal/import-closure.py", top / "src"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.splitlines()
    for encoding in ("utf_16_be", "utf_32_be"):
        spec = importlib.util.find_spec(f"encodings.{encoding}")
        assert spec is not None
        assert spec.origin in printed
