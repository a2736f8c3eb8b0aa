"""`veriseal` without its start: a process that has imported all of it forks for each call.

In emulation the imports take two seconds, and who follows a long guide calls it a hundred times.
The command stays what it is: it gets the caller's arguments, descriptors, working directory, root
directory and mounts, and its exit status goes back.
"""

import ctypes
import gc
import importlib
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import veriseal
from veriseal.__main__ import main

_NAME = "\0veriseal-quick"
"""Of the socket: an abstract one, which is found in every root directory."""
_DESCRIPTORS = 6
_MAX_ARGUMENTS = 1 << 16

CLIENT = f"""\
#!/usr/bin/python3 -IS
# The modules socket and os are slow, too.
import _socket, posix, sys
fds = [0, 1, 2, *(posix.open(path, 0) for path in ("/", ".", "/proc/self/ns/mnt"))]
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
server.connect({_NAME!r})
rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
words = b"\\0".join(word.encode("utf-8", "surrogateescape") for word in sys.argv[1:])
server.sendmsg([words], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
posix._exit(server.recv(1)[0])
"""
"""A program to be put in the place of `veriseal`, while there is a `server`."""


@contextmanager
def server() -> Iterator[None]:
    """Meanwhile, `CLIENT` works: for one caller after the other."""
    for module in pkgutil.walk_packages(veriseal.__path__, "veriseal."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    # What is never looked at is never copied for a fork.
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(_NAME)
        listening.listen()
        process = os.fork()
        if process == 0:
            _serve(listening)
    try:
        yield
    finally:
        gc.unfreeze()
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _serve(listening: socket.socket) -> None:
    while True:
        caller, _ = listening.accept()
        data, fds, _, _ = socket.recv_fds(caller, _MAX_ARGUMENTS, _DESCRIPTORS)
        worker = os.fork()
        if worker == 0:
            status = 1
            try:
                os.setsid()
                status = _work([os.fsdecode(word) for word in data.split(b"\0")], fds)
            except SystemExit as end:  # argparse
                status = int(end.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        for fd in fds:
            os.close(fd)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        caller.send(bytes([status if status >= 0 else 128 - status]))
        caller.close()


def _work(arguments: list[str], fds: list[int]) -> int:
    *streams, root, directory, mounts = fds
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    # os.setns is new in Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(mounts, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(directory)
    for fd in fds:
        os.close(fd)
    sys.argv = ["veriseal", *arguments]
    return main()
