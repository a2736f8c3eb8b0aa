#!/usr/bin/python3 -I
"""Print every file the agent needs, one a line: modules, bytecode, shared libraries, no more.

The agent's verb is run, not guessed at: what it imports late is imported here too.
"""

import codecs
import contextlib
import importlib
import importlib.util
import io
import os
import sys
import tempfile


def exercise() -> None:
    """Import and run what the agent does, short of touching the kernel's keyring."""
    # First: it sets what `cryptography` reads at import.
    importlib.import_module("veriseal.boot")
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from veriseal import certificate
    from veriseal.__main__ import main
    from veriseal.boot import throwaway

    # There may be no certificate on this machine; loading one imports more, so load our own.
    der = throwaway.certificate()
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    certificate.load(pem, "throwaway")
    # Of BMPString and UniversalString, which names in other certificates may be.
    for encoding in ("utf_16_be", "utf_32_be"):
        codecs.lookup(encoding)
    with contextlib.redirect_stdout(io.StringIO()):
        # What is wrong with this machine's certificates is said on stderr, in dracut's output. It
        # is no reason to stop: the boot will.
        sys.argv[1:] = ["boot", "seal", "--dry-run"]
        main()
    check_a_tree()


def check_a_tree() -> None:
    """Do what `veriseal boot verify` does, on a tree of one empty directory."""
    from veriseal import closure, manifest, signers
    from veriseal.boot import verify
    from veriseal.digest import SHA256, Digest

    tree_list, digest = b"/ 0 40700 2 0 0 0 0.0 - - -\n", Digest(SHA256, bytes(32))
    closures = closure.serialize({b"/program": [closure.Member(b"/library", digest)]})
    signed = signers.serialize([signers.Signed("os", "0" * 64, "CN=x")])
    attached = [manifest.Attached(digest, len(data)) for data in (tree_list, closures, signed)]
    statement = manifest.Manifest("os", 1, 0, *attached)
    statement = manifest.parse(manifest.serialize(statement), "manifest")
    closure.parse(closures, "closures")
    signers.parse(signed, "signers")
    release = verify.source.Release(statement, tree_list, closures, signed, digest, [], [], "-")
    with tempfile.TemporaryDirectory() as directory:
        root = os.open(directory, os.O_RDONLY)
        verify.check.check(root, release, True)
        os.close(root)
    verify.mounts.read()


def libraries() -> set[str]:
    """The shared libraries that are mapped now, and the links by which they were found."""
    found = set()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mapped = {
            fields[5] for line in maps if len(fields := line.rstrip("\n").split(None, 5)) == 6
        }
    for path in mapped:
        if ".so" not in os.path.basename(path):
            continue
        for entry in os.scandir(os.path.dirname(path)):
            if entry.path == path or (entry.is_symlink() and os.path.realpath(entry) == path):
                found.add(entry.path)
    return found


def modules() -> set[str]:
    """The source and bytecode files of all modules that are loaded now."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if module.__name__ == "__main__" or not path:
            continue
        found.add(path)
        if path.endswith(".py"):
            cached = importlib.util.cache_from_source(path)
            if os.path.exists(cached):
                found.add(cached)
    return found


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    sys.dont_write_bytecode = True
    exercise()
    print("\n".join(sorted(modules() | libraries())))
