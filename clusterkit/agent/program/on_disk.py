"""L5. Work on a node's disk, each piece in a process of its own: a disk may be frozen, and then nobody can wait for it.

The process mounts the disk's device in a mount namespace of its own, which ends with it. The kernel has one file system
for a device, however often it is mounted: what is done here is done to the node's files, whether or not it runs.
This file is also the program of that process: it imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import fnmatch
import hashlib
import json
import mmap
import os
import select
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILL = ".clusterkit-fill"
_OURS = ".clusterkit-"
_KEPT = ".clusterkit-cut-"
STALLED = "stalled"
_OWN = "/var/lib/clusterkit"
_AT = "/mnt"
_NEW_MOUNTS = 0x00020000
_PRIVATE = (1 << 18) | (1 << 14)
_FREEZE, _THAW = 0xC0045877, 0xC0045878
_PAGE = 4096
_MEGABYTE = 1 << 20
_SPARE = 4 * _MEGABYTE
_HEAD = 8192
_RECENT_S = 60.0
_left: list[subprocess.Popen[str]] = []


def ask(device: str, do: str, seconds: float, **args: Any) -> dict[str, Any]:
    """Does one thing on a disk ("" for the disk that the agent lies on) and gives its answer.

    `error` in it is "" or the name of an errno, STALLED where there was no answer in time: then the process ends when
    it can, at the latest when the disk goes on.
    """
    _left[:] = [process for process in _left if process.poll() is None]
    process = subprocess.Popen(
        [sys.executable, "-IS", __file__, json.dumps({"device": device, "do": do, "args": args})],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    with process.stdout as said:
        if not select.select([said], [], [], seconds)[0]:
            process.kill()
            _left.append(process)
            return {"error": STALLED}
        answer = said.read()
    process.wait()
    if not answer:
        raise RuntimeError(f"{do} ended without an answer")
    found: dict[str, Any] = json.loads(answer)
    return found


# -- in the process ----------------------------------------------------------------------------------------------------


def _mount(device: str) -> Path:
    if not device:
        return Path(_OWN)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) or libc.mount(None, b"/", None, _PRIVATE, None):
        raise OSError(ctypes.get_errno(), "unshare")
    if libc.mount(device.encode(), _AT.encode(), b"ext4", 0, None):
        raise OSError(ctypes.get_errno(), f"mount {device}")
    return Path(_AT)


def fill(folder: Path, leave: int) -> dict[str, Any]:
    """Takes all room but `leave` bytes; gives `free`, what is left."""
    handle = os.open(folder / FILL, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    step = _free(folder)
    while step >= _PAGE:
        step = min(step, _free(folder) - leave) // _PAGE * _PAGE
        if step <= 0:
            break
        try:
            os.posix_fallocate(handle, os.fstat(handle).st_size, step)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            step //= 2
    os.fsync(handle)
    return {"free": _free(folder)}


def empty(folder: Path) -> dict[str, Any]:
    (folder / FILL).unlink(missing_ok=True)
    return {}


def freeze(folder: Path, ioctl: int) -> dict[str, Any]:
    """One that is as it should be already is left so."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, ioctl, 0)
    except OSError as error:
        if error.errno != (errno.EBUSY if ioctl == _FREEZE else errno.EINVAL):
            raise
    return {}


def room(folder: Path, most: int) -> dict[str, Any]:
    """Writes until there is no room, and at most `most` bytes; gives how many `bytes` were written."""
    written, full = 0, ""
    handle = _probe(folder)
    try:
        block = bytes(64 << 10)
        while written < most:
            written += os.write(handle, block[: most - written])
    except OSError as error:
        full = errno.errorcode.get(error.errno or 0, str(error))
    finally:
        os.close(handle)
    return {"bytes": written, "error": full}


def sync(folder: Path) -> dict[str, Any]:
    """Writes a page and syncs it; gives `took_s`."""
    handle = _probe(folder)
    begun = time.monotonic()
    try:
        os.write(handle, bytes(_PAGE))
        os.fsync(handle)
        return {"took_s": time.monotonic() - begun}
    finally:
        os.close(handle)


def rate(folder: Path, group: str, block: int, window_s: float) -> dict[str, Any]:
    """Writes, then reads, blocks past all caches, each for `window_s` seconds; as a process of the node's `group`.

    Gives `written` and `read`, blocks a second. What goes through at once, before a limit bites, is not counted.
    """
    handle = _probe(folder, os.O_DIRECT)
    try:
        os.posix_fallocate(handle, 0, _SPARE)
        os.fsync(handle)
        if group:
            Path(group, "cgroup.procs").write_text(str(os.getpid()))
        buffer = mmap.mmap(-1, block)
        return {
            "written": _blocks(lambda at: os.pwrite(handle, buffer, at), block, window_s),
            "read": _blocks(lambda at: os.preadv(handle, [buffer], at), block, window_s),
        }
    finally:
        os.close(handle)


def choose(folder: Path, pattern: str, bytes_wanted: int, share: float, bit: int) -> dict[str, Any]:
    """The file that is meant, from the data folder: of those that match, the one of the recently written that has the
    most in it.

    Gives `file`, `size`, `at` and `sum`, where its last `bytes_wanted` begin and their digest; `offset` and `byte`, one
    that lies `share` of the way through what has been written to it, and `bit`, its value once that bit is another.
    Raises: FileNotFoundError.
    """
    found = []
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            state = path.lstat()
            inside = path.relative_to(folder).as_posix()
            is_meant = not name.startswith(_OURS) and fnmatch.fnmatchcase(inside, pattern or "*")
            if stat.S_ISREG(state.st_mode) and state.st_size and is_meant:
                found.append((state.st_mtime, state.st_size, inside))
    newest = max((time_s for time_s, _, _ in found), default=0.0)
    recent = [(size, file) for time_s, size, file in found if time_s > newest - _RECENT_S]
    if not recent:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    _, size, file = max((_count(_written(_open(folder, file), size)), size, file) for size, file in recent)
    at = max(0, size - bytes_wanted)
    handle = _open(folder, file)
    offset = _place(_written(handle, size), share)
    byte = os.pread(handle, 1, offset)[0]
    said = {"file": file, "size": size, "at": at, "offset": offset, "byte": byte, "bit": byte ^ 1 << bit}
    said["byte_sum"] = hashlib.sha256(bytes([byte])).hexdigest()
    return {**said, **_part(handle, at, size)}


def part(folder: Path, file: str, at: int, size: int) -> dict[str, Any]:
    """The digest of a part of a file, `sum`, from `at` to `size`."""
    return _part(_open(folder, file), at, size)


def cut(folder: Path, file: str, at: int, name: str) -> dict[str, Any]:
    """Cuts a file off; its end is kept beside it, under our `name`, before it goes."""
    handle = _open(folder, file)
    size = os.fstat(handle).st_size
    kept = folder / f"{_KEPT}{name}"
    side = os.open(kept, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        _copy(handle, at, side, _HEAD, size - at)
        os.pwrite(side, _head(file=file, at=at, size=size), 0)
        os.fsync(side)
    except OSError:
        kept.unlink()
        raise
    os.ftruncate(handle, at)
    os.fsync(handle)
    os.pwrite(side, _head(file=file, at=at, size=size, left_ns=os.fstat(handle).st_mtime_ns), 0)
    os.fsync(side)
    return {}


def paste(folder: Path, name: str, is_trial: bool) -> dict[str, Any]:
    """Puts the end of a file back if nobody has written to it since; gives whether it could: `is_back`."""
    kept = folder / f"{_KEPT}{name}"
    try:
        side = os.open(kept, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:  # it was never cut, or is back already
        return {"is_back": True}
    head = json.loads(os.pread(side, _HEAD, 0))
    try:
        handle = _open(folder, head["file"])
        state = os.fstat(handle)
        is_left = state.st_size == head["at"] and state.st_mtime_ns == head.get("left_ns", state.st_mtime_ns)
    except FileNotFoundError:
        is_left = False
    if is_left and not is_trial:
        _copy(side, _HEAD, handle, head["at"], head["size"] - head["at"])
        os.fsync(handle)
    if not is_trial:
        kept.unlink()
    return {"is_back": is_left}


def poke(folder: Path, file: str, offset: int, was: int, byte: int, is_trial: bool) -> dict[str, Any]:
    """Changes a byte that `was` into `byte`; another one is left alone. Gives whether it is `byte` now: `is_back`."""
    try:
        handle = _open(folder, file)
    except FileNotFoundError:
        return {"is_back": False}
    now = os.pread(handle, 1, offset)
    if now == bytes([was]) and not is_trial:
        os.pwrite(handle, bytes([byte]), offset)
        os.fsync(handle)
    return {"is_back": now in (bytes([was]), bytes([byte]))}


def _open(folder: Path, file: str) -> int:
    return os.open(folder / file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def _part(handle: int, at: int, size: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    while at < size and (chunk := os.pread(handle, min(_MEGABYTE, size - at), at)):
        digest.update(chunk)
        at += len(chunk)
    return {"sum": digest.hexdigest()}


def _written(handle: int, size: int) -> list[tuple[int, int]]:
    """Where something was written to a file: room that it only keeps for later is left out."""
    ranges = []
    end = 0
    while end < size:
        try:
            begin = os.lseek(handle, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # there is nothing more
                raise
            break
        end = os.lseek(handle, begin, os.SEEK_HOLE)
        ranges.append((begin, end))
    return ranges


def _count(ranges: list[tuple[int, int]]) -> int:
    return sum(end - begin for begin, end in ranges)


def _place(ranges: list[tuple[int, int]], share: float) -> int:
    """The offset that lies this share of the way through the ranges."""
    left = int(share * _count(ranges))
    for begin, end in ranges:
        if left < end - begin:
            return begin + left
        left -= end - begin
    return 0


def _copy(source: int, at: int, target: int, to: int, count: int) -> None:
    while count > 0 and (chunk := os.pread(source, min(_MEGABYTE, count), at)):
        written = os.pwrite(target, chunk, to)
        at, to, count = at + written, to + written, count - written


def _head(**head: Any) -> bytes:
    return json.dumps(head).encode().ljust(_HEAD)


def _blocks(do: Callable[[int], int], block: int, window_s: float) -> float:
    """The first ones, which may go through at once, only set the beginning."""
    until = time.monotonic() + window_s
    begun, done, at = 0.0, 0, 0
    while True:
        do(at)
        at = (at + block) % (_SPARE - block)
        ended = time.monotonic()
        if not begun:
            if ended > until - 0.75 * window_s:
                begun = ended
            continue
        done += 1
        if ended > until:
            return done / (ended - begun)


def _probe(folder: Path, flags: int = 0) -> int:
    """A file without a name: nothing of it is left, however this process ends."""
    return os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC | flags, 0o600)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


_WORK: dict[str, Callable[..., dict[str, Any]]] = {
    "fill": fill,
    "empty": empty,
    "freeze": lambda folder: freeze(folder, _FREEZE),
    "thaw": lambda folder: freeze(folder, _THAW),
    "choose": choose,
    "part": part,
    "cut": cut,
    "paste": paste,
    "poke": poke,
    "room": room,
    "sync": sync,
    "rate": rate,
}


def _main() -> None:
    order = json.loads(sys.argv[1])
    try:
        answer = {"error": "", **_WORK[order["do"]](_mount(order["device"]), **order["args"])}
    except OSError as error:
        answer = {"error": errno.errorcode.get(error.errno or 0, str(error))}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
