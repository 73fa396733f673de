"""L5. The processes, namespaces, limits and disks of a node, found by its container's id alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CGROUPS = Path("/host/cgroup")
_NEW_NET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_known: dict[str, tuple[int, str]] = {}


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def processes(container: str) -> list[int]:
    """All processes of a container now, as the host numbers them, in order. Empty: it does not run.

    Read from its cgroup; those of the whole machine are looked through only to find the first of them.
    """
    if container in _known:
        folder = cgroup(container, "pids")
        if folder is not None and folder.is_dir():
            with contextlib.suppress(OSError):  # it ended while we looked
                listed = [int(pid) for file in folder.rglob("cgroup.procs") for pid in file.read_text().split()]
                return sorted(pid for pid in listed if not _is_dead(pid))
    return _searched(container)


def _searched(container: str) -> list[int]:
    found = []
    for pid in pids():
        try:
            if container in Path(f"/proc/{pid}/cgroup").read_text() and not _is_dead(pid):
                found.append(pid)
        except OSError:  # it ended while we looked
            continue
    return sorted(found)


def init(container: str) -> int | None:
    """The container's first process, or None where it does not run. All others end with it."""
    if container in _known:
        pid, started = _known[container]
        if _started(pid) == started and not _is_dead(pid):
            return pid
    for pid in _searched(container):
        if _inner_pid(pid) == 1:
            _known[container] = pid, _started(pid)
            return pid
    return None


def main(container: str) -> int | None:
    """The service itself: the first child of the engine's init, or the first process where there is no init."""
    first = init(container)
    if first is None:
        return None
    if Path(f"/proc/{first}/comm").read_text().strip() not in ("docker-init", "tini", "catatonit", "podman-init"):
        return first
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return int(children[0]) if children else None


def root(pid: int) -> Path:
    """The node's file system as its processes see it."""
    return Path(f"/proc/{pid}/root")


def in_network(pid: int | None, do: Callable[[], T]) -> T:
    """Calls `do` in the network namespace of a process (None: the host's); sockets that it opens stay there."""
    if pid is None:
        return do()
    given: list[T] = []
    raised: list[BaseException] = []

    def inside() -> None:
        try:
            handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(handle, _NEW_NET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
            given.append(do())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that called
            raised.append(error)

    thread = threading.Thread(target=inside)  # namespaces belong to threads: this one ends with its own
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return given[0]


def cgroup(container: str, controller: str) -> Path | None:
    """The folder of a node's limits: of `controller` on cgroup v1, of all on v2; None where the node does not run."""
    pid = init(container)
    if pid is None:
        return None
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if names == "" and is_unified():
            return CGROUPS / path.lstrip("/")
        if controller in names.split(","):
            return CGROUPS / controller / path.lstrip("/")
    return None


def is_unified() -> bool:
    """Whether the host has cgroup v2 alone."""
    return (CGROUPS / "cgroup.controllers").exists()


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: [0] is the state, [19] the start. Source: proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _is_dead(pid: int) -> bool:
    try:
        return stat(pid)[0] in ("Z", "X")
    except OSError:
        return True


def _started(pid: int) -> str:
    try:
        return stat(pid)[19]
    except OSError:
        return ""


def _inner_pid(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    except OSError:
        pass
    return 0
