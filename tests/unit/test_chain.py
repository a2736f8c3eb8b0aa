"""Paths from a release certificate to an anchor; the same chains are shown to OpenSSL."""

import datetime
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from veriseal import certificate, chain
from veriseal.certificate import Certificate
from veriseal.errors import VerisealError

pytestmark = pytest.mark.unit

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_ATTRIBUTES = {
    "C": NameOID.COUNTRY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "CN": NameOID.COMMON_NAME,
    "E": NameOID.EMAIL_ADDRESS,
}
_serials = itertools.count(1)


def name(text: str) -> x509.Name:
    """From ``O=Acme/CN=root``."""
    pairs = [part.partition("=") for part in text.split("/") if part]
    return x509.Name([x509.NameAttribute(_ATTRIBUTES[kind], value) for kind, _, value in pairs])


def directory(text: str) -> x509.DirectoryName:
    return x509.DirectoryName(name(text))


class Made(NamedTuple):
    """A certificate and the key in it."""

    parsed: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.parsed.public_bytes(serialization.Encoding.PEM)


def make(
    subject: str,
    by: Made | None = None,
    *,
    ca: bool = True,
    length: int | None = None,
    usage: tuple[str, ...] | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    skid: bytes | None = None,
    named: x509.AuthorityKeyIdentifier | bool = True,
    extra: tuple[x509.ExtensionType, ...] = (),
    signer: ec.EllipticCurvePrivateKey | None = None,
) -> Made:
    """A certificate issued ``by`` another, or by itself; an authority unless ``ca`` says no."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signing = signer or (key if by is None else by.key)
    issuer = name(subject) if by is None else by.parsed.subject
    chosen = usage if usage is not None else ("key_cert_sign",) if ca else ("digital_signature",)
    usages = {
        one: one in chosen
        for one in (
            *("digital_signature", "content_commitment", "key_encipherment"),
            *("data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
            *("encipher_only", "decipher_only"),
        )
    }
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(next(_serials))
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca, length), critical=True)
        .add_extension(x509.KeyUsage(**usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(skid) if skid else identifier, critical=False)
    )
    if named is True and by is not None:
        above = by.parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        named = x509.AuthorityKeyIdentifier(above.digest, None, None)
    if isinstance(named, x509.AuthorityKeyIdentifier):
        builder = builder.add_extension(named, critical=False)
    for one in extra:
        builder = builder.add_extension(one, critical=isinstance(one, x509.NameConstraints))
    return Made(builder.sign(signing, hashes.SHA256()), key)


def leaf(by: Made, subject: str = "O=Acme/CN=release", **options: Any) -> Made:
    return make(subject, by, ca=False, **options)


def permit(*names: x509.GeneralName) -> tuple[x509.NameConstraints]:
    return (x509.NameConstraints(names, None),)


def exclude(*names: x509.GeneralName) -> tuple[x509.NameConstraints]:
    return (x509.NameConstraints(None, names),)


def loaded(made: Made, path: str) -> Certificate:
    constraints = made.parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
    load = certificate.load_root if constraints.ca else certificate.load
    return load(made.pem, path)


def ours(
    release: Made, intermediates: list[Made], anchors: list[Made]
) -> tuple[Certificate, ...] | str:
    """The path, or why there is none."""
    try:
        return chain.path(
            loaded(release, "release.pem"),
            [loaded(one, f"intermediate{n}.pem") for n, one in enumerate(intermediates)],
            [loaded(one, f"anchor{n}.pem") for n, one in enumerate(anchors)],
        )
    except VerisealError as error:
        refusal = error
    assert (refusal.reason, refusal.path) == ("not-vouched", "release.pem")
    assert refusal.remedy is not None
    return str(refusal.found)


def openssl(directory: Path, release: Made, intermediates: list[Made], anchors: list[Made]) -> bool:
    files = {"release": [release], "untrusted": intermediates, "trusted": anchors}
    for at, made in files.items():
        (directory / at).write_bytes(b"".join(one.pem for one in made))
    command = ["openssl", "verify", "-no_check_time", "-partial_chain", "-no-CApath", "-no-CAstore"]
    command += ["-CAfile", str(directory / "trusted")]
    if intermediates:
        command += ["-untrusted", str(directory / "untrusted")]
    done = subprocess.run([*command, str(directory / "release")], check=False, capture_output=True)
    assert done.returncode in (0, 2), done.stderr
    return done.returncode == 0


Chain = tuple[Made, list[Made], list[Made]]
GOOD: dict[str, Callable[[], Chain]] = {}
BAD: dict[str, tuple[Callable[[], Chain], str]] = {}
WIDER: dict[str, Callable[[], Chain]] = {}
"""What OpenSSL refuses: it tries only the first of several authorities with one name."""
STRICTER: dict[str, tuple[Callable[[], Chain], str]] = {}
"""What OpenSSL accepts, and the others above as it does. With the clause that is expected."""


def good(function: Callable[[], Chain]) -> Callable[[], Chain]:
    GOOD[function.__name__] = function
    return function


def wider(function: Callable[[], Chain]) -> Callable[[], Chain]:
    WIDER[function.__name__] = function
    return function


def bad(
    clause: str, stricter: bool = False
) -> Callable[[Callable[[], Chain]], Callable[[], Chain]]:
    def add(function: Callable[[], Chain]) -> Callable[[], Chain]:
        (STRICTER if stricter else BAD)[function.__name__] = (function, clause)
        return function

    return add


ROOT = "O=Acme/CN=root"


@good
def direct() -> Chain:
    root = make(ROOT, length=0)
    return leaf(root), [], [root]


@good
def without_authority_key_identifier() -> Chain:
    root = make(ROOT)
    return leaf(root, named=False), [], [root]


@good
def an_intermediate() -> Chain:
    root = make(ROOT, length=1)
    middle = make("O=Acme/CN=middle", root, length=0)
    return leaf(middle), [middle], [root]


@good
def seven_intermediates() -> Chain:
    path = [make(ROOT)]
    for number in range(7):
        path.append(make(f"CN={number}", path[-1]))
    return leaf(path[-1]), path[:0:-1], path[:1]


@good
def an_anchor_that_is_no_root() -> Chain:
    middle = make("O=Acme/CN=middle", make(ROOT))
    return leaf(middle), [], [middle]


@good
def two_anchors_of_one_name() -> Chain:
    wrong, right = make(ROOT), make(ROOT)
    return leaf(right), [], [wrong, right]


@wider
def two_anchors_of_one_name_without_identifier() -> Chain:
    wrong, right = make(ROOT), make(ROOT)
    return leaf(right, named=False), [], [wrong, right]


@wider
def two_intermediates_of_one_name() -> Chain:
    root = make(ROOT)
    wrong, right = make("CN=middle", root), make("CN=middle", root)
    return leaf(right, named=False), [wrong, right], [root]


@good
def cross_signed() -> Chain:
    one, two = make("CN=one"), make("CN=two")
    one_by_two = make("CN=one", two, key=one.key)
    two_by_one = make("CN=two", one, key=two.key)
    return leaf(one), [one_by_two, two_by_one], [two]


@good
def a_self_issued_authority_does_not_count_for_the_length() -> Chain:
    root = make(ROOT, length=1)
    renewed = make(ROOT, root)
    middle = make("CN=middle", renewed, length=0)
    return leaf(middle), [middle, renewed], [root]


@good
def within_a_permitted_name() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme"), directory("O=Other")))
    return leaf(root), [], [root]


@good
def beside_an_excluded_name() -> Chain:
    root = make(ROOT, extra=exclude(directory("O=Acme/CN=releases"), directory("O=Other")))
    return leaf(root), [], [root]


@good
def a_constrained_form_that_does_not_appear() -> Chain:
    root = make(ROOT, extra=permit(x509.DNSName("acme.example"), x509.RFC822Name("acme.example")))
    return leaf(root), [], [root]


@good
def a_self_issued_authority_under_a_name_constraint() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme/CN=release")))
    renewed = make(ROOT, root)
    return leaf(renewed), [renewed], [root]


@good
def an_alternative_directory_name_that_is_permitted() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme")))
    names = x509.SubjectAlternativeName([directory("O=Acme/CN=x")])
    return leaf(root, extra=(names,)), [], [root]


@good
def an_issuer_named_by_serial_number() -> Chain:
    root = make(ROOT)
    named = x509.AuthorityKeyIdentifier(
        None, [x509.DirectoryName(root.parsed.subject)], root.parsed.serial_number
    )
    return leaf(root, named=named), [], [root]


@bad("issuer")
def nothing_above() -> Chain:
    return leaf(make(ROOT)), [], [make("CN=another root")]


@bad("a signature by another key")
def the_right_name_and_another_key() -> Chain:
    return leaf(make(ROOT), named=False), [], [make(ROOT)]


@bad("an authority key identifier of another key")
def another_authority_key_identifier() -> Chain:
    root = make(ROOT)
    return leaf(root, named=x509.AuthorityKeyIdentifier(b"x" * 20, None, None)), [], [root]


@bad("an authority key identifier of another certificate")
def another_serial_number_of_the_issuer() -> Chain:
    root = make(ROOT)
    named = x509.AuthorityKeyIdentifier(
        None, [x509.DirectoryName(root.parsed.subject)], root.parsed.serial_number + 1000
    )
    return leaf(root, named=named), [], [root]


@bad("an authority key identifier of another certificate")
def another_issuer_of_the_issuer() -> Chain:
    root = make(ROOT)
    named = x509.AuthorityKeyIdentifier(None, [directory("CN=x")], root.parsed.serial_number)
    return leaf(root, named=named), [], [root]


@bad("is no certificate authority")
def a_release_that_issues_another() -> Chain:
    root = make(ROOT)
    release = leaf(root)
    return leaf(release, "CN=second"), [release], [root]


@bad("is no certificate authority")
def a_release_as_an_anchor() -> Chain:
    release = leaf(make(ROOT))
    return leaf(release, "CN=second"), [], [release]


@bad("1 authorities below CN=root,O=Acme, which allows 0")
def a_path_that_is_longer_than_the_root_allows() -> Chain:
    root = make(ROOT, length=0)
    middle = make("CN=middle", root)
    return leaf(middle), [middle], [root]


@bad("1 authorities below CN=one, which allows 0")
def a_path_that_is_longer_than_an_intermediate_allows() -> Chain:
    root = make(ROOT)
    one = make("CN=one", root, length=0)
    two = make("CN=two", one)
    return leaf(two), [one, two], [root]


@bad("O=Evil, which CN=root,O=Acme does not allow")
def outside_the_permitted_names() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme")))
    return leaf(root, "O=Evil"), [], [root]


@bad("CN=release,O=Acme, which CN=root,O=Acme does not allow")
def within_an_excluded_name() -> Chain:
    root = make(ROOT, extra=exclude(directory("O=Acme")))
    return leaf(root), [], [root]


@bad("does not allow")
def an_excluded_name_in_other_letters() -> Chain:
    root = make(ROOT, extra=exclude(directory("O=Acme")))
    return leaf(root, "O=aCME/CN=release"), [], [root]


@bad("does not allow")
def an_excluded_name_with_other_spaces() -> Chain:
    root = make(ROOT, extra=exclude(directory("O=Acme Corp")))
    return leaf(root, "O= Acme  Corp/CN=release"), [], [root]


@bad("does not allow")
def an_intermediate_outside_the_permitted_names() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme/CN=release")))
    middle = make("O=Acme/CN=middle", root)
    return leaf(middle), [middle], [root]


@bad("does not allow")
def outside_what_an_intermediate_permits() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme")))
    middle = make("O=Acme/CN=middle", root, extra=permit(directory("O=Acme/CN=middle")))
    return leaf(middle), [middle], [root]


@bad("does not allow")
def an_alternative_directory_name_that_is_excluded() -> Chain:
    root = make(ROOT, extra=exclude(directory("O=Evil")))
    names = x509.SubjectAlternativeName([directory("O=Evil/CN=x")])
    return leaf(root, extra=(names,)), [], [root]


@bad("in the form DNSName")
def another_form_that_is_constrained() -> Chain:
    root = make(ROOT, extra=permit(x509.DNSName("acme.example")))
    names = x509.SubjectAlternativeName([x509.DNSName("evil.example")])
    return leaf(root, extra=(names,)), [], [root]


@bad("in the form RFC822Name")
def an_address_in_the_subject() -> Chain:
    root = make(ROOT, extra=exclude(x509.RFC822Name("evil.example")))
    return leaf(root, "O=Acme/E=a@evil.example"), [], [root]


@bad("in the form DNSName", stricter=True)
def another_form_that_is_constrained_and_allowed() -> Chain:
    root = make(ROOT, extra=permit(x509.DNSName("acme.example")))
    names = x509.SubjectAlternativeName([x509.DNSName("www.acme.example")])
    return leaf(root, extra=(names,)), [], [root]


@bad("does not allow", stricter=True)
def a_permitted_name_in_other_letters() -> Chain:
    root = make(ROOT, extra=permit(directory("O=Acme")))
    return leaf(root, "O=ACME/CN=release"), [], [root]


@bad("other purposes than code signing", stricter=True)
def an_authority_for_other_purposes() -> Chain:
    root = make(ROOT)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    middle = make("CN=middle", root, extra=(usage,))
    return leaf(middle), [middle], [root]


@bad("too long a path", stricter=True)
def eight_intermediates() -> Chain:
    path = [make(ROOT)]
    for number in range(8):
        path.append(make(f"CN={number}", path[-1]))
    return leaf(path[-1]), path[:0:-1], path[:1]


@pytest.mark.parametrize("case", GOOD)
def test_chains_that_count(case: str, tmp_path: Path) -> None:
    release, intermediates, anchors = GOOD[case]()
    assert openssl(tmp_path, release, intermediates, anchors)
    accepted(release, intermediates, anchors)


@pytest.mark.parametrize("case", WIDER)
def test_chains_that_openssl_does_not_find(case: str, tmp_path: Path) -> None:
    release, intermediates, anchors = WIDER[case]()
    assert not openssl(tmp_path, release, intermediates, anchors)
    accepted(release, intermediates, anchors)


def accepted(release: Made, intermediates: list[Made], anchors: list[Made]) -> None:
    path = ours(release, intermediates, anchors)
    assert not isinstance(path, str), path
    assert path[-1].path.startswith("anchor")
    assert [one.path.startswith("intermediate") for one in path[1:-1]] == [True] * (len(path) - 2)
    for below, above in itertools.pairwise(path):
        chain.check_issued_by(below, above)


def refused(case: Chain, clause: str) -> None:
    found = ours(*case)
    assert isinstance(found, str), found
    assert clause in found


@pytest.mark.parametrize("case", BAD)
def test_chains_that_do_not(case: str, tmp_path: Path) -> None:
    make_it, clause = BAD[case]
    made = make_it()
    assert not openssl(tmp_path, *made)
    refused(made, clause)


@pytest.mark.parametrize("case", STRICTER)
def test_chains_that_only_openssl_accepts(case: str, tmp_path: Path) -> None:
    make_it, clause = STRICTER[case]
    made = make_it()
    assert openssl(tmp_path, *made)
    refused(made, clause)


def test_the_anchor_is_the_one_that_signed() -> None:
    release, intermediates, anchors = two_anchors_of_one_name()
    found = chain.check(
        loaded(release, "r"),
        [loaded(one, "i") for one in intermediates],
        [loaded(one, f"{number}") for number, one in enumerate(anchors)],
    )
    assert found.path == "1"


def test_an_authority_without_key_cert_sign_is_none() -> None:
    """`certificate.load_root` refuses it already; the chain does not rely on that."""
    root = make(ROOT)
    middle = make("CN=middle", root, usage=("crl_sign",))
    issued = loaded(leaf(middle), "release.pem")
    skid = middle.parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    parsed = Certificate(middle.parsed, middle.key.public_key(), skid.digest, "intermediate.pem")
    with pytest.raises(VerisealError) as caught:
        chain.check(issued, [parsed], [loaded(root, "anchor.pem")])
    assert "may not sign certificates" in str(caught.value.found)


def test_constraints_with_what_is_not_understood() -> None:
    """A minimum in a subtree: OpenSSL refuses it too, `cryptography` passes over it."""
    # NameConstraints: permittedSubtrees [0] { { directoryName [4] O=Acme, minimum [0] 1 } }
    acme = name("O=Acme").public_bytes()
    base = b"\xa4" + bytes([len(acme)]) + acme
    subtree = base + b"\x80\x01\x01"
    subtree = b"\x30" + bytes([len(subtree)]) + subtree
    subtrees = b"\xa0" + bytes([len(subtree)]) + subtree
    value = b"\x30" + bytes([len(subtrees)]) + subtrees
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value)
    root = make(ROOT, extra=(odd,))
    refused((leaf(root), [], [root]), "in another form")


def loops() -> Iterator[Made]:
    """Twelve authorities that all certify each other."""
    keys = {f"CN={number}": ec.generate_private_key(ec.SECP256R1()) for number in range(12)}
    for one, other in itertools.permutations(keys, 2):
        yield make(one, make(other, key=keys[other]), key=keys[one])


def test_authorities_that_certify_each_other_take_no_time() -> None:
    every = list(loops())
    release = leaf(every[0])
    started = time.process_time()
    refused((release, every, [make(ROOT)]), "too long a path, or too many of them")
    assert time.process_time() - started < 5
    closed = make("CN=one")
    again = make("CN=one", closed, key=closed.key)
    refused((leaf(closed), [closed, again], [make(ROOT)]), "issuer")


def test_name_constraints_are_critical_only_in_authorities() -> None:
    constraint = permit(directory("O=Acme"))
    with pytest.raises(VerisealError) as caught:
        certificate.load(leaf(make(ROOT), extra=constraint).pem, "release.pem")
    assert caught.value.reason == "unknown-critical-extension"
