"""L0. One clusterkit at a time changes a cluster: a lock per user, engine and cluster, held by the kernel.

A killed process releases its lock by dying; the file it leaves is removed by the next holder when that is done.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterkit import paths
from clusterkit.clock import SYSTEM, Clock, Deadline
from clusterkit.errors import Locked


@contextmanager
def held(engine: str, name: str, *, wait: float = 0.0, clock: Clock = SYSTEM) -> Iterator[Path]:
    """Holds the lock `name` of an engine while the body runs; waits up to `wait` seconds for it.

    Raises: Locked, with the pid that holds it.
    """
    folder = paths.cache() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^A-Za-z0-9._-]", "_", f"{engine}-{name}") + ".lock")
    deadline = Deadline(wait, clock)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            if deadline.is_over:
                raise Locked(
                    f'another clusterkit (pid {holder}) is at work on "{name}"',
                    mend="wait for it, or end it, and try again",
                ) from None
            clock.sleep(0.05)
            continue
        if _is_still(path, handle):
            break
        os.close(handle)  # its holder removed the file between our open and our lock: a new one stands there now
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
