"""L5. Disks of nodes: an ext4 image each on the agent's volume, attached to a loop device of the host.

The engine mounts the device as the node's data volume, so that the device's number must stay as it is: it is kept
beside the image, and asked for again after the machine was started anew. Source: loop(4), linux/loop.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .kind import Refused

DISKS = Path("/var/lib/clusterkit/disks")
DEVICES = Path("/host/dev")
BLOCKS = Path("/sys/block")
SMALLEST = 16 << 20
OURS = b"clusterkit"
"""The file name that our loop devices carry in their state."""

_CONFIGURE, _CLEAR, _STATUS = 0x4C0A, 0x4C01, 0x4C05
_ADD, _GET_FREE = 0x4C80, 0x4C82
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_TRIES = 50
_lock = threading.Lock()


def image_of(cluster: str, node: str) -> Path:
    return DISKS / cluster / f"{node}.img"


def images() -> Iterator[Path]:
    return iter(sorted(DISKS.glob("*/*.img")))


def make(cluster: str, node: str, size_bytes: int) -> str:
    """The host's path of a node's loop device, with its disk made and attached where it was not.

    Raises: Refused, where a disk of another size is there, or no device can be had.
    """
    image = image_of(cluster, node)
    with _lock:
        image.parent.mkdir(parents=True, exist_ok=True)
        if not image.exists():
            _format(image, size_bytes)
        elif image.stat().st_size != size_bytes:
            raise Refused(
                f"the disk of {node} has {image.stat().st_size >> 20}MB, and not {size_bytes >> 20}MB",
                "take the cluster down first (its data is lost), or keep `data_size:` as it was",
            )
        return f"/dev/loop{_attach(image)}"


def attach(image: Path) -> int | None:
    """The number of a disk's loop device, which is attached where it was not; None for a disk that is not there."""
    number = find(image)
    if number is not None or not image.exists():
        return number
    with _lock:
        return _attach(image)


def remove(image: Path) -> None:
    """Detaches an image and deletes it. One that is mounted still goes when it is not any more."""
    with _lock:
        number = find(image)
        if number is not None:
            _clear(number)
        _number_file(image).unlink(missing_ok=True)
        image.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it, or it is gone
            image.parent.rmdir()


def attach_all() -> None:
    """After the machine was started anew. Raises: Refused, when the others are attached."""
    failed: list[Refused] = []
    with _lock:
        for image in images():
            try:
                _attach(image)
            except Refused as error:
                failed.append(error)
    if failed:
        raise failed[0]


def clear_lost() -> None:
    """Detaches devices of ours whose image was deleted, and images that were not made whole."""
    with _lock:
        for number in _attached():
            backing = (BLOCKS / f"loop{number}/loop/backing_file").read_text().strip()
            if backing.endswith("(deleted)") and _status(number)[2] == OURS:
                _clear(number)
        for left in DISKS.glob("*/*.new"):
            left.unlink()


def find(image: Path) -> int | None:
    """The number of the loop device that an image is attached to, or None."""
    try:
        there = image.stat()
    except FileNotFoundError:
        return None
    for number in _attached():
        with contextlib.suppress(OSError):  # it was detached while we looked
            device, inode, _ = _status(number)
            if (device, inode) == (there.st_dev, there.st_ino):
                return number
    return None


def _format(image: Path, size_bytes: int) -> None:
    """Its root is empty, so that the engine fills it as it fills any new volume: files and owner of the image's."""
    if size_bytes < SMALLEST:
        raise Refused(f"a disk of {size_bytes} bytes is too small for a file system", "set `data_size: 16MB` or more")
    free = shutil.disk_usage(image.parent).free
    if size_bytes > free:
        raise Refused(f"a disk of {size_bytes >> 20}MB was asked for, and {free >> 20}MB are free", "set `data_size:`")
    new = image.with_suffix(".new")
    with new.open("wb") as file:
        file.truncate(size_bytes)
    lazy = "lazy_itable_init=1,lazy_journal_init=1"
    _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", lazy, str(new))
    _run("debugfs", "-w", "-R", "rmdir lost+found", str(new))
    new.replace(image)


def _attach(image: Path) -> int:
    """By the same number as before where it is free."""
    number = find(image)
    if number is not None:
        return number
    try:
        wanted = int(_number_file(image).read_text())
    except (OSError, ValueError):
        wanted = -1
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for attempt in range(_TRIES):
            number = wanted if attempt == 0 and wanted >= 0 else -1
            try:
                number = _reserve(number)
                _configure(number, backing)
            except OSError as error:
                if error.errno in (errno.EBUSY, errno.EEXIST):  # somebody else was quicker
                    continue
                raise Refused(f"no loop device can be had: {error.strerror}", "use `data: volume`") from error
            _number_file(image).write_text(str(number))
            return number
    finally:
        os.close(backing)
    raise Refused("no loop device can be had: all are taken at once by others", "try again")


def _reserve(number: int) -> int:
    """Makes sure that there is a device of this number, or any free one (-1)."""
    with (DEVICES / "loop-control").open("rb") as control:
        if number < 0:
            return fcntl.ioctl(control, _GET_FREE)
        with contextlib.suppress(FileExistsError):
            fcntl.ioctl(control, _ADD, number)
        return number


def _configure(number: int, backing: int) -> None:
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, OURS, b"", b"", 0, 0)
    with _open(number, os.O_RDWR) as device:
        fcntl.ioctl(device, _CONFIGURE, struct.pack("=II", backing, 0) + info + bytes(64))


def _clear(number: int) -> None:
    with contextlib.suppress(OSError), _open(number, os.O_RDONLY) as device:  # it is free already
        fcntl.ioctl(device, _CLEAR)


def _status(number: int) -> tuple[int, int, bytes]:
    """Device and inode of the image, and the name we gave. Raises: OSError, where nothing is attached."""
    with _open(number, os.O_RDONLY) as device:
        fields = _INFO.unpack(fcntl.ioctl(device, _STATUS, bytes(_INFO.size)))
    return fields[0], fields[1], fields[9].rstrip(b"\0")


@contextlib.contextmanager
def _open(number: int, flags: int) -> Iterator[int]:
    handle = os.open(DEVICES / f"loop{number}", flags | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _attached() -> list[int]:
    return sorted(int(path.parent.name[4:]) for path in BLOCKS.glob("loop*/loop"))


def _number_file(image: Path) -> Path:
    return image.with_suffix(".loop")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{argv[0]} failed: {done.stderr.strip().splitlines()[-1:]}", "use `data: volume`")


# -- calls -------------------------------------------------------------------------------------------------------------


def disks_make(args: Mapping[str, Any]) -> dict[str, str]:
    """`cluster`; `nodes`: name -> size in bytes. Gives name -> device."""
    return {node: make(args["cluster"], node, size) for node, size in args["nodes"].items()}


def disks_remove(args: Mapping[str, Any]) -> int:
    """`cluster`; `nodes`: names, or None for all of the cluster. Gives how many there were."""
    chosen = [
        image
        for image in images()
        if image.parent.name == args["cluster"] and (args["nodes"] is None or image.stem in args["nodes"])
    ]
    for image in chosen:
        remove(image)
    return len(chosen)


def disks(_args: Mapping[str, Any]) -> list[dict[str, str]]:
    """All disks there are: `cluster`, `node`, `device` ("" where it is not attached)."""
    found = []
    for image in images():
        number = find(image)
        device = "" if number is None else f"/dev/loop{number}"
        found.append({"cluster": image.parent.name, "node": image.stem, "device": device})
    return found
