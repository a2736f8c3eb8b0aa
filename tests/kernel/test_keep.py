"""An upgrade in place: what did not change keeps verity and the signature of the release before."""

import json
import shutil
from typing import Any

import pytest

from veriseal import manifest

from . import helpers
from .helpers import PING, Signer

pytestmark = pytest.mark.kernel

NEW = helpers.tiny_elf(44, size=9000)


def changed_tree(top: str) -> None:
    helpers.make_tree(top)
    helpers.write(top + PING, NEW, 0o755)


def findings(tree: str, signer: Signer) -> list[dict[str, Any]]:
    helpers.evict()
    done = helpers.command("verify", "--json", f"--cert={signer.cert_path}", "--os=debian:13", tree)
    found: list[dict[str, Any]] = json.loads(done.out)["findings"]
    assert done.status == bool(found)
    return found


def test_unchanged_files_keep_the_signature_that_they_have(
    place: str, signers: dict[str, Signer], rsa: Signer
) -> None:
    before = signers["rsa3072"]
    old = helpers.build(f"{place}/12", before, "--os=debian:12")
    with helpers.enrolled(before):
        tree = helpers.install_tree(old, f"{place}/tree")
    keep = (f"--keep={old.out}", f"--keep-cert={before.cert_path}")
    new = helpers.build(f"{place}/13", rsa, *keep, make=changed_tree)

    # The upgrade writes what changed, and the manifest.
    helpers.write(tree + PING, NEW, 0o755)
    shutil.rmtree(f"{tree}/{manifest.DIRECTORY}")
    helpers.put_manifest(new, tree)
    certificates = [f"--cert={one.cert_path}" for one in (rsa, before)]
    with helpers.enrolled(before, rsa):
        helpers.evict()
        done = helpers.command("enable", f"--release={new.out}", "--json", *certificates, tree)
        assert done.status == 0, done
        states = {one["path"][len(tree) :]: one["state"] for one in json.loads(done.out)["files"]}
        assert [path for path, state in states.items() if state == "enabled"] == [PING]
        assert findings(tree, rsa) == []

    # Without the certificate of the release before, each file is named with who signed it.
    with helpers.enrolled(rsa):
        found = findings(tree, rsa)
    kept = sorted(path for path, state in states.items() if state == "already")
    assert len(kept) > len(helpers.PROGRAMS)
    assert sorted(one["path"] for one in found) == kept
    subject = before.certificate.subject
    for one in found:
        assert (one["kind"], one["signer"]) == ("not-enrolled", before.certificate.fingerprint)
        assert one["problem"].endswith(f"in this release it is signed by {subject} (debian:12)")
    with helpers.enrolled(before):
        (one,) = findings(tree, rsa)
    assert (one["path"], one["signer"]) == (PING, rsa.certificate.fingerprint)
    assert (one["signer_subject"], one["signer_os"]) == (rsa.certificate.subject, "debian:13")
