"""L5. Where a node's disk is mounted, found by its loop device; what can be done to a mounted file system."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from . import loop, nodes
from .kind import Refused

_LOOP_MAJOR = 7
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_SECONDS = 5
_REMOUNT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
handle = os.open(f"/proc/{sys.argv[1]}/ns/mnt", os.O_RDONLY)
if libc.setns(handle, 0x20000) or libc.mount(None, sys.argv[2].encode(), None, 32, sys.argv[3].encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
"""
"""In a process of its own: the mount namespace of a thread cannot be another than that of its process."""


def point(cluster: str, node: Mapping[str, str]) -> str | None:
    """Where a node sees its disk, or None where it has none or does not run."""
    pid = nodes.init(node["id"])
    number = loop.find(loop.image_of(cluster, node["name"]))
    if pid is None or number is None:
        return None
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:  # it has just ended
        return None
    found = [line.split() for line in lines]
    return next((fields[4] for fields in found if fields[2] == f"{_LOOP_MAJOR}:{number}"), None)


def folder(cluster: str, node: Mapping[str, str]) -> Path | None:
    """The same from here, or None."""
    inside = point(cluster, node)
    pid = nodes.init(node["id"])
    return None if inside is None or pid is None else nodes.root(pid) / inside.lstrip("/")


def needed(cluster: str, node: Mapping[str, str]) -> Path:
    """The same. Raises: Refused where it has none, or does not run."""
    found = folder(cluster, node)
    if found is not None:
        return found
    if nodes.init(node["id"]) is None:
        raise Refused(f"{node['name']} does not run: its disk is not in use", f"clusterkit start {node['name']}")
    component = node["name"].rpartition("-")[0]
    raise Refused(f"{node['name']} has no disk of its own", f"set data: loop for {component}, take it down, and up")


def has_volume(cluster: str, node: Mapping[str, str]) -> bool:
    """Whether the node has a data volume that is no disk of its own."""
    pid = nodes.init(node["id"])
    if pid is None:
        return False
    name = f"/clusterkit-{cluster}-{node['name']}-data/"
    return any(name in line for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())


def shut_down(mounted: Path) -> None:
    """The file system ends as if the power were lost: nothing more is written, not even its journal.

    Source: ext4's EXT4_IOC_SHUTDOWN, as xfstests uses it.
    """
    handle = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(handle)


def remount(container: str, inside: str, options: str) -> None:
    """Mounts again with other options, in the node's own mount namespace. Raises: Refused."""
    done = subprocess.run(
        [sys.executable, "-ISc", _REMOUNT, str(nodes.init(container)), inside, options],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode:
        raise Refused(f"{inside} could not be mounted with {options}: {done.stderr.strip()}")
