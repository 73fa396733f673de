"""L5. Small works done inside a node's limits: a process that puts itself into the node's cgroup, and works there.

Run as a program of its own, `python3 -IS worker.py WORK ARGUMENTS`, ARGUMENTS as JSON. `procs` is the cgroup.procs of
the node (of one controller on cgroup v1), `node` the process with which the work ends. It ends with the agent too:
its stdin is a pipe that closes then. What it found it prints as a number.
"""

import contextlib
import ctypes
import json
import mmap
import os
import select
import sys
import time
from collections.abc import Callable

_CHUNK = 1 << 20
_FILL = 1 << 18


def burn(procs: str, node: int) -> None:
    """Takes all the CPU time that it gets."""
    watch = _watch(node)
    _join(procs)
    while not watch.poll(0):
        _spin()


def work(procs: str, node: int, seconds: float) -> None:
    """Prints the share of one core that it got, busy for some seconds."""
    watch = _watch(node)
    _join(procs)
    begun, cpu = time.monotonic(), time.process_time()
    while time.monotonic() < begun + seconds and not watch.poll(0):
        _spin()
    print((time.process_time() - cpu) / (time.monotonic() - begun))


def hold(procs: str, node: int, home: str, path: str, size: int) -> None:
    """Prints how many bytes of a file stay in memory when `size` of them were read, the memory being the node's.

    The file is one hole, so that no disk is read. The cache of files is what the kernel takes back first, and without
    harm: where the limit is reached, nobody is killed. For the same reason everything is at hand before it joins, and
    it goes `home` before it counts.
    """
    watch = _watch(node)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    os.ftruncate(file, size)
    with mmap.mmap(file, size) as mapped:
        pages = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
        ctypes.memset(pages, 1, len(pages))
        start = ctypes.c_ubyte.from_buffer(mapped)
        mincore = ctypes.CDLL(None, use_errno=True).mincore
        mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
        into = [bytearray(b"\1" * _CHUNK)]
        _join(procs)
        try:
            at = 0
            while at < size and not watch.poll(0):
                at += os.preadv(file, into, at)
        finally:
            _join(home)
        if mincore(ctypes.addressof(start), size, ctypes.addressof(pages)):
            raise OSError(ctypes.get_errno(), "mincore")
        print(sum(page & 1 for page in pages) * mmap.PAGESIZE)
        del start  # else the mapping cannot be closed


def fill(procs: str, node: int, size: int) -> None:
    """Takes at most `size` bytes of the node's memory, until its process `node` is killed for the want of it.

    They lie in a file that is in no process's size: the kernel does not choose this one to be killed.
    """
    watch = _watch(node)
    file = os.memfd_create("clusterkit")
    chunk = b"\1" * _FILL
    _join(procs)
    written = 0
    while written < size and not watch.poll(0):
        written += os.write(file, chunk)
    while not watch.poll(None):
        continue


def _watch(node: int) -> select.poll:
    """Says something as soon as the process `node` or the agent has ended."""
    watch = select.poll()
    watch.register(os.pidfd_open(node), select.POLLIN)
    watch.register(0, select.POLLHUP)
    return watch


def _join(procs: str) -> None:
    with open(procs, "w") as file:
        file.write("0")


def _spin() -> None:
    for _ in range(20_000):
        continue


WORKS: dict[str, Callable[..., None]] = {"burn": burn, "work": work, "hold": hold, "fill": fill}

if __name__ == "__main__":
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # the node has just ended
        WORKS[sys.argv[1]](**json.loads(sys.argv[2]))
