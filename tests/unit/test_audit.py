"""The audit's parts: recognising signers, walking, fates, counting, the page."""

import html.parser
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from veriseal import certificate, signature
from veriseal.audit import fate, look, page, summary, walk
from veriseal.audit import files as audited
from veriseal.audit.fate import Fate, Judge
from veriseal.audit.files import Examined, FileState
from veriseal.audit.recognise import Recogniser, Signer
from veriseal.audit.summary import Side
from veriseal.audit.walk import Skipped
from veriseal.certificate import Certificate
from veriseal.digest import SHA256, Digest
from veriseal.errors import VerisealError
from veriseal.kernel import files
from veriseal.plan import ondisk
from veriseal.trust import model
from veriseal.trust.model import Ignored, Release, TrustSet

pytestmark = pytest.mark.unit

Certify = Callable[..., bytes]
ONE, OTHER = (Digest(SHA256, bytes([number]) * 32) for number in (1, 2))


@pytest.fixture(scope="module")
def keys(rsa_key: Any, ec_key: Any) -> list[Any]:
    """Of three releases; the first two are RSA."""
    return [rsa_key, rsa.generate_private_key(65537, 2048), ec_key]


@pytest.fixture(scope="module")
def certificates(keys: list[Any], certify: Certify) -> list[Certificate]:
    """Of the same three."""
    names = ("fedora:42", "fedora:43", "fedora:44")
    return [
        certificate.load(certify(key, subject=f"Acme {name}"), f"/voa/{name}.pem")
        for key, name in zip(keys, names, strict=True)
    ]


def test_the_signer_is_recognised(keys: list[Any], certificates: list[Certificate]) -> None:
    known = Recogniser(certificates[:2])
    for key, one in zip(keys[:2], certificates[:2], strict=True):
        for digest in (ONE, OTHER):
            assert known.signer(signature.make(digest, key, one), digest) == Signer(one.fingerprint)
    stranger = known.signer(signature.make(ONE, keys[2], certificates[2]), ONE)
    assert stranger.fingerprint is stranger.mistake is None
    assert "Acme fedora:44" in str(stranger.named)


def test_a_signature_of_another_file_is_none(
    keys: list[Any], certificates: list[Certificate]
) -> None:
    known = Recogniser(certificates)
    for key, one in zip(keys, certificates, strict=True):
        der = signature.make(ONE, key, one)
        # In either order: what was parsed before must not vouch for what comes after.
        for digest, mistake in ((OTHER, "signature-mismatch"), (ONE, None)) * 2:
            assert known.signer(der, digest).mistake == mistake


def test_two_certificates_with_one_identifier_are_told_apart(
    keys: list[Any], certify: Certify
) -> None:
    """Whose serial and issuer are the same: the one whose key made the signature made it."""
    both = [
        certificate.load(certify(key, serial=7, skid=b"same"), f"{number}.pem")
        for number, key in enumerate(keys[:2])
    ]
    known = Recogniser(both)
    for key, one in zip(keys, both, strict=False):
        assert known.signer(signature.make(ONE, key, one), ONE) == Signer(one.fingerprint)


def test_knowing_the_start_accepts_no_more_than_the_strict_parser(
    keys: list[Any], certificates: list[Certificate]
) -> None:
    """Changed, cut and lengthened signatures, by one who has seen many, and one by one."""
    source = random.Random(5)  # noqa: S311
    seasoned = Recogniser(certificates)
    accepted = 0
    for key, one in zip(keys, certificates, strict=True):
        good = signature.make(ONE, key, one)
        seasoned.signer(good, ONE)
        tries = [good]
        for _ in range(1000):
            changed = bytearray(good)
            for _ in range(source.randint(1, 3)):
                at = source.randrange(1, len(changed))
                way = source.randrange(3)
                if way == 0:
                    changed[at] ^= 1 << source.randrange(8)
                elif way == 1:
                    del changed[at:]
                    changed += source.randbytes(source.randint(0, 20))
                else:
                    changed.insert(at, source.randrange(256))
            tries.append(bytes(changed))
        for der in tries:
            try:
                signature.verify(der, ONE, one)
                wanted: str | None = one.fingerprint
                accepted += 1
            except VerisealError as error:
                wanted = None
                malformed = error.reason == "malformed-signature"
                assert (seasoned.signer(der, ONE).mistake == "malformed-signature") == malformed
            assert seasoned.signer(der, ONE).fingerprint == wanted
    assert accepted >= len(keys)


def test_walking_follows_and_opens_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "tree"
    (inside / "usr/bin").mkdir(parents=True)
    (inside / "empty").mkdir()
    (inside / "usr/bin/b").write_text("b")
    (inside / "usr/bin/a").write_text("a")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("not in the tree")
    (inside / "out").symlink_to("../secret")
    (inside / "usr/link").symlink_to("bin/a")
    os.mkfifo(inside / "usr/fifo")
    hostile = os.fsencode(inside) + b"/usr/\xff\n<script>"
    with open(hostile, "wb"):
        pass
    fd = os.open(inside, os.O_RDONLY)
    walked = walk.walk(fd)
    os.close(fd)
    assert walked.directories == [
        (b"/", []),
        (b"/empty", []),
        (b"/usr", [b"\xff\n<script>"]),
        (b"/usr/bin", [b"a", b"b"]),
    ]
    assert (walked.files, walked.others, walked.skipped) == (3, 3, [])


def test_another_file_system_is_named_and_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt/file").write_text("x")
    real = os.fstat
    mounted = (tmp_path / "mnt").stat().st_ino

    def elsewhere(fd: int) -> os.stat_result:
        status = real(fd)
        fields = list(status)
        fields[2] += status.st_ino == mounted
        return os.stat_result(fields)

    fd = os.open(tmp_path, os.O_RDONLY)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", elsewhere)
        patch.setattr(files, "filesystem_type", lambda _fd: files.FUSE)
        walked = walk.walk(fd)
        patch.setattr(files, "filesystem_type", lambda _fd: files.BTRFS)
        entered = walk.walk(fd)
    os.close(fd)
    assert walked.files == 0
    assert [one.path for one in walked.skipped] == [b"/mnt"]
    assert (entered.files, entered.skipped) == (1, [])


def trusting(*counting: Certificate, ignored: tuple[Ignored, ...] = ()) -> TrustSet:
    releases = [Release("fedora:42", one) for one in counting]
    return TrustSet(releases, list(ignored), [], {"fedora:42": model.CURRENT})


def signed(one: Certificate, path: bytes = b"/usr/bin/a", **more: Any) -> FileState:
    """A good file, signed by ``one``, or what ``more`` makes of it."""
    state = FileState(
        path, True, ONE, True, one.fingerprint, one.subject, "fedora:42", audited.FILE, True, True
    )
    return state._replace(**more)


def test_fates(certificates: list[Certificate]) -> None:
    mine, masked, nowhere = certificates
    ignored = Ignored(masked.path, model.MASKED, "masked by /etc/voa/x.pem", "fedora:43", masked)
    judge = Judge(trusting(mine, ignored=(ignored,)), revoked=[OTHER])
    states = {
        "ok": signed(mine),
        "not-trusted": signed(masked),
        "revoked": signed(mine, digest=OTHER),
        "changed": signed(mine, changed=True),
        "no-verity": signed(mine, verity=False, signed=False, signer=None),
        "unsigned": signed(mine, signed=False, signer=None, named=None),
        "damaged": signed(mine, refused="signature-mismatch"),
        "missing": signed(mine, refused=audited.MISSING, verity=None, signed=None),
        "unknown": signed(mine, signed=None, signer=None, named=None),
    }
    assert {name: judge.of(state).kind for name, state in states.items()} == {
        name: name for name in states
    }
    assert set(states) == set(fate.KINDS)
    assert "masked by /etc/voa/x.pem" in judge.of(states["not-trusted"]).why
    gone = judge.of(signed(nowhere))
    assert (gone.kind, gone.why) == (fate.NOT_TRUSTED, "its certificate is not in the initrd")
    # Signed by somebody, and no certificate says by whom: it counts for nothing either.
    stranger = judge.of(signed(mine, signer=None, named="issuer X"))
    assert stranger.kind == fate.NOT_TRUSTED
    assert "issuer X" in stranger.why


def test_what_could_not_be_looked_at_is_never_fine(certificates: list[Certificate]) -> None:
    """Not even where the manifest says that a certificate that counts has signed it."""
    judge = Judge(trusting(certificates[0]))
    for refused in (audited.NOT_EXAMINED, look.UNREADABLE, "bad-descriptor"):
        state = signed(certificates[0], verity=None, digest=None, signed=None, refused=refused)
        assert judge.of(state).kind == fate.UNKNOWN


def test_a_promise_does_not_stand_against_the_kernel(certificates: list[Certificate]) -> None:
    """It refuses a file as signed by nobody enrolled: whoever is enrolled has not signed it."""
    mine = certificates[0]
    refused: dict[str, Any] = {
        "refused": "not-enrolled",
        "known_from": audited.MANIFEST,
        "digest": None,
    }
    state = signed(mine, **refused)
    found = Judge(trusting(mine), enrolled=[mine.fingerprint]).of(state)
    assert (found.kind, "but by another" in found.why) == (fate.NOT_TRUSTED, True)
    # Enrolled by the next boot only: then the promise is all there is to go by.
    assert Judge(trusting(mine), enrolled=[certificates[1].fingerprint]).of(state).kind == fate.OK


def test_the_plan_names_what_another_has_signed(certificates: list[Certificate]) -> None:
    mine, other = certificates[:2]
    promised: dict[str, Any] = {
        "refused": "not-enrolled", "known_from": audited.MANIFEST, "digest": None,
    }  # fmt: skip
    for state in (signed(mine, **promised), signed(mine, signer=None, named="issuer X")):
        found = ondisk.judged([state], trusting(mine), True, [mine.fingerprint], False).findings
        assert [(one.level, one.name) for one in found] == [("error", fate.NOT_TRUSTED)]
    # By name of the signer, and by digest, it is said elsewhere.
    revoked = trusting(mine)._replace(revoked=(ONE,))
    for state, trust in ((signed(mine), revoked), (signed(other), trusting(mine))):
        assert ondisk.judged([state], trust, True, [], False).findings == []
    changed = signed(mine, changed=True)
    (one,) = ondisk.judged([changed], revoked, True, [], False).findings
    assert one.name == fate.REVOKED


def test_a_tree_that_is_entered_as_it_is_has_to_be_enabled(certificates: list[Certificate]) -> None:
    mine = certificates[0]
    bare = signed(mine, verity=False, signed=False, signer=None)
    unseen = signed(mine, verity=None, signed=None, refused=look.UNREADABLE)
    for state in (bare, unseen):
        for final, level in ((False, "warning"), (True, "error")):
            found = ondisk.judged([state], trusting(mine), True, [], final).findings
            assert [one.level for one in found] == [level]


def test_a_damaged_or_changed_file_is_not_mended_by_trust(certificates: list[Certificate]) -> None:
    judge = Judge(trusting(*certificates), keyring=False, to_be_enabled=True)
    cases: dict[str, dict[str, Any]] = {
        fate.CHANGED: {"changed": True},
        fate.DAMAGED: {"refused": "corrupt"},
        fate.GONE: {"refused": audited.MISSING},
    }
    for name, more in cases.items():
        assert judge.of(signed(certificates[0], **more)).kind == name


def test_a_statement_revokes_digests(certificates: list[Certificate]) -> None:
    trust = trusting(certificates[0])._replace(revoked=(ONE,))
    assert Judge(trust).of(signed(certificates[0])).kind == fate.REVOKED


def test_without_a_keyring_no_signature_matters(certificates: list[Certificate]) -> None:
    judge = Judge(trusting(), keyring=False)
    assert judge.of(signed(certificates[0])).kind == fate.OK
    assert judge.of(signed(certificates[0], signed=False, signer=None)).kind == fate.OK
    assert judge.of(signed(certificates[0], verity=False)).kind == fate.NO_VERITY


def test_before_a_tree_is_enabled_its_signatures_count(certificates: list[Certificate]) -> None:
    judge = Judge(trusting(certificates[0]), to_be_enabled=True)
    assert judge.of(signed(certificates[0], verity=False)).kind == fate.OK
    missing = judge.of(signed(certificates[0], verity=False, signed=False, signer=None))
    assert missing.kind == fate.UNSIGNED


def audit(
    states: list[FileState], *trusts: TrustSet, problems: tuple[VerisealError, ...] = ()
) -> summary.Summary:
    sides = [Side(f"/root-{number}", one, Judge(one)) for number, one in enumerate(trusts)]
    examined = Examined(states, [Skipped(b"/proc", "another file system")], 3, 1)
    return summary.make("/tree", "fedora:42 version 1", sides, problems, ["a note"], examined)


def test_what_counts_is_what_is_asked_about(certificates: list[Certificate]) -> None:
    old, new, _ = certificates
    states = [
        signed(old, b"/usr/bin/old"),
        signed(new, b"/usr/bin/new", os="fedora:43"),
        signed(old, b"/home/user/own", needed=False, listed=False),
    ]
    result = audit(states, trusting(old), trusting(new))
    assert [(one.file.path, one.today.kind, one.then.kind) for one in result.findings] == [
        (b"/usr/bin/old", "ok", "not-trusted"),
        (b"/usr/bin/new", "not-trusted", "ok"),
    ]
    assert [one.file.path for one in result.lost] == [b"/usr/bin/old"]
    assert result.failed
    lines = [str(one) for one in result.findings]
    assert lines[0].startswith("not-trusted: /usr/bin/old: ")
    assert lines[0].endswith("(today: ok)")
    assert lines[1].endswith("(today; ok then)")
    rows = {row.name: row for row in (*result.releases, *result.directories)}
    assert rows["fedora:42  CN=Acme fedora:42"].kept == (1, 0)
    assert rows["/usr/bin"][1:6] == (2, 2, 2, 2, 2)
    assert rows["/home/user"].needed == 0
    assert (result.total.files, result.total.lost) == (3, 1)
    # Today's defects alone fail nothing, if the question is about then.
    assert not audit(states[1:], trusting(old), trusting(new)).failed
    assert audit(states[1:], trusting(old)).failed


def test_a_problem_with_the_whole_fails_it(certificates: list[Certificate]) -> None:
    good = [signed(certificates[0])]
    assert not audit(good, trusting(certificates[0])).failed
    problem = VerisealError("no-certificates", "none counts")
    assert audit(good, trusting(certificates[0]), problems=(problem,)).failed


def test_directories_are_summed_up() -> None:
    for path, name in {
        b"/a": "/", b"/etc/a": "/etc", b"/usr/bin/a": "/usr/bin", b"/usr/lib/x/y": "/usr/lib",
    }.items():  # fmt: skip
        assert summary.directory(path) == name


class Page(html.parser.HTMLParser):
    """Checks nesting, and collects text, elements and attributes."""

    VOID = ("meta",)

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(data.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = (
    b"/usr/bin/<script>alert(1)</script>",
    b"/usr/bin/\xff\xfe",
    b'/usr/bin/"onmouseover="x',
    b"/usr/bin/{{ 7 * 6 }}",
    b"/usr/bin/new\nline\x1b[2J",
    "/usr/bin/\u202etxt.exe".encode(),
    b"/usr/bin/https://example.org/",
)


def test_the_page_needs_nothing_and_names_cannot_break_it(certificates: list[Certificate]) -> None:
    old, new, _ = certificates
    states = [signed(old, path, named="<img src=x>") for path in HOSTILE]
    states += [signed(old, b"/var/<b>/<i>/file-%d" % number) for number in range(300)]
    problem = VerisealError("rolled-back", "<script src='//x'>", path="</p>")
    ignored = Ignored("</td>", model.MASKED, "<style>", None, None)
    result = audit(states, trusting(old), trusting(new, ignored=(ignored,)), problems=(problem,))
    made = page.render(result, "2026-01-01")
    seen = Page(made)
    assert not {"script", "img", "link", "iframe", "a", "object"} & set(seen.elements)
    names = {name for name, _ in seen.attributes}
    assert not {"src", "href", "srcset", "onmouseover", "action", "data"} & names
    assert b"url(" not in made
    assert b"@import" not in made
    assert b"http" not in made.replace(b"http-equiv", b"").replace(b"https://example.org/", b"")
    for text in (
        "/usr/bin/<script>alert(1)</script>", "/usr/bin/\\udcff\\udcfe", "{{ 7 * 6 }}",
        "new\\nline\\x1b[2J", "\\u202etxt.exe", "/var/<b>", "<script src='//x'>", "/proc",
    ):  # fmt: skip
        assert text in seen.text
    assert "and 107 more" in seen.text
    assert seen.text.index("Findings") < seen.text.index("By directory")
    policy = [value for _, value in seen.attributes if value and "default-src" in value]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_page_of_nothing() -> None:
    result = audit([], trusting())
    seen = Page(page.render(result, "today"))
    assert "No file is needed" in seen.text
    assert "prefers-color-scheme: dark" in seen.text


def test_findings_of_one_reason_are_one_group(certificates: list[Certificate]) -> None:
    old, new, _ = certificates
    states = [signed(old, b"/%d" % number) for number in range(3)]
    states.append(signed(old, b"/x", verity=False))
    found = page.groups(audit(states, trusting(new)).findings)
    assert [(one.kind, one.paths) for one in found] == [
        ("not-trusted", ["/0", "/1", "/2"]),
        ("no-verity", ["/x"]),
    ]
    assert Fate("ok") == Judge(trusting(old)).of(states[0])
