"""L5. Disks that end: power that is lost, devices that fail, file systems that become read-only.

What was not synced is gone. A disk comes back when the engine mounts it again, so all of these need it to be healed.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from .. import loop, mounts, nodes
from ..entry import Entry
from ..kind import Refused
from .disk import needs_motion
from .process import Down, Kill

_CANARY = ".clusterkit-unsynced"
_PROBE_SECONDS = 1.0
_CHECK_SECONDS = 10.0
_WRITES = """
import os, sys
try:
    handle = os.open(sys.argv[1], os.O_WRONLY | os.O_TMPFILE, 0o600)
    os.write(handle, b"x")
    os.fsync(handle)
    print("ok")
except OSError as error:
    print(error.errno)
"""
"""The file has no name: whoever dies in the middle leaves nothing."""


class Power(Kill):
    """`args` as those of a kill. All disks end at the same moment, then all nodes. Nodes without data are only killed.

    A file is written right before and not synced: `before` has its `token`. Nothing is synced for our sake: that would
    save what the system itself did not.
    """

    name = "power"

    def look(self, entry: Entry) -> dict[str, Any]:
        disks = _disks(entry)
        for node in entry.args["nodes"]:
            needs_motion(self.box, entry, node)
        return {**super().look(entry), "token": secrets.token_hex(8), "disks": disks}

    def make(self, entry: Entry) -> None:
        folders = [mounts.folder(entry.cluster, node) for node in entry.args["nodes"] if node["name"] in _on(entry)]
        for found in folders:
            if found is not None:
                (found / _CANARY).write_text(entry.before["token"])
        for found in folders:
            if found is not None:
                mounts.shut_down(found)
        super().make(entry)

    def undo(self, entry: Entry) -> None:
        """What was written for our sake is gone with the power, but for a chance of the kernel having been quicker."""
        for node in entry.args["nodes"]:
            with contextlib.suppress(Refused):  # it stands still: nothing that touches it would ever end
                needs_motion(self.box, entry, node)
                _tidy(entry.cluster, node)


class DiskError(Down):
    """Every read and write of the nodes' disks fails from now on. `args` as those of `down`."""

    name = "disk-error"

    def look(self, entry: Entry) -> dict[str, Any]:
        for node in entry.args["nodes"]:
            needs_motion(self.box, entry, node)
            mounts.needed(entry.cluster, node)
        return super().look(entry)

    def make(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            mounts.shut_down(mounts.needed(entry.cluster, node))


class DiskReadOnly(DiskError):
    """Every write fails: the file system was remounted read-only, as the kernel does when it meets an error."""

    name = "disk-read-only"

    def make(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            mounts.needed(entry.cluster, node)
            mounts.remount(node["id"], str(mounts.point(entry.cluster, node)), "abort")


def _on(entry: Entry) -> list[str]:
    found: list[str] = entry.before["disks"]
    return found


def _disks(entry: Entry) -> list[str]:
    """The nodes that have a disk. Raises: Refused where data lies on a volume: it would survive."""
    found = []
    for node in entry.args["nodes"]:
        if mounts.point(entry.cluster, node) is not None:
            found.append(node["name"])
        elif mounts.has_volume(entry.cluster, node):
            mounts.needed(entry.cluster, node)
    return found


def _tidy(cluster: str, node: Mapping[str, str]) -> None:
    found = mounts.folder(cluster, node)
    if found is not None:
        with contextlib.suppress(OSError):  # it is gone, or its disk is
            (found / _CANARY).unlink()


def unsynced(args: Mapping[str, Any]) -> dict[str, bool | None]:
    """Whether what was not synced is still on the disks: node name -> yes, no, or None where nobody can say.

    `cluster`; `nodes`; `token`, what was written. Of a node that runs its file system is asked; else its image is read,
    without the journal being played back.
    """
    found: dict[str, bool | None] = {}
    for node in args["nodes"]:
        folder = mounts.folder(args["cluster"], node)
        image = loop.image_of(args["cluster"], node["name"])
        if folder is not None:
            path = folder / _CANARY
            try:
                found[node["name"]] = path.read_text() == args["token"]
            except FileNotFoundError:
                found[node["name"]] = False
            except OSError:  # its disk has ended: nothing can be read from it
                found[node["name"]] = None
        elif image.exists():
            read = subprocess.run(["debugfs", "-R", f"cat /{_CANARY}", str(image)], capture_output=True, check=False)
            found[node["name"]] = read.stdout.decode(errors="replace").strip() == args["token"]
        else:
            found[node["name"]] = None
    return found


def writes(args: Mapping[str, Any]) -> dict[str, str]:
    """What a synced write to the disks of `nodes` gives: node name -> "ok", "EIO", "EROFS", ..., "stalled", "down".

    `cluster`. By a process of its own for each: a disk may never answer. One after another, each a second at most.
    """
    found = {}
    for node in args["nodes"]:
        folder = mounts.folder(args["cluster"], node)
        if folder is None:
            found[node["name"]] = "down"
            continue
        process = subprocess.Popen(
            [sys.executable, "-ISc", _WRITES, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            output, _ = process.communicate(timeout=_PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # and not waited for: it ends when its disk answers
            found[node["name"]] = "stalled"
            continue
        said = output.strip()
        found[node["name"]] = errno.errorcode.get(int(said), said) if said.isdigit() else said or "down"
    return found


def disks_check(args: Mapping[str, Any]) -> None:
    """Mends the file systems of `nodes` that do not run: one that met an error says so until it was checked.

    `cluster`. Waits until the engine has unmounted them. Raises: Refused.
    """
    end = time.monotonic() + _CHECK_SECONDS
    for node in args["nodes"]:
        number = loop.find(loop.image_of(args["cluster"], node["name"]))
        while number is not None:
            device = f"{loop.DEVICES}/loop{number}"
            done = subprocess.run(["e2fsck", "-p", device], capture_output=True, text=True, check=False)
            if done.returncode <= 2 or nodes.init(node["id"]) is not None:  # clean, or mended
                break
            if time.monotonic() > end:
                raise Refused(f"the disk of {node['name']} could not be mended: {(done.stdout + done.stderr)[-300:]}")
            time.sleep(0.1)


KINDS = (Power, DiskError, DiskReadOnly)
CALLS = {"unsynced": unsynced, "writes": writes, "disks_check": disks_check}
