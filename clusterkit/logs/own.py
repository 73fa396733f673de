"""L8. clusterkit's own steps: written beside the topology as they happen, read back into the timeline.

`clusterkit.jsonl` gets one JSON object a line. Every line is one write to a file opened for appending, so that two
clusterkits never mix theirs. At 4 MB it becomes `clusterkit.jsonl.1`, and that one is lost at the next turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.journal import Entry, Listener
from clusterkit.logs.entry import OWN, LogEntry

NAME = "clusterkit.jsonl"
MAX_BYTES = 4 * 2**20


def file_listener(folder: Path, *, max_bytes: int = MAX_BYTES) -> Listener:
    """What hears a Journal and appends to `clusterkit.jsonl` in the cluster's folder, made with the first line.

    This file is a convenience: where it cannot be written, stderr says so once and the work goes on.
    """
    return _File(folder / NAME, max_bytes)


class _File:
    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._run = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._is_broken = False

    def __call__(self, entry: Entry) -> None:
        if self._is_broken:
            return
        try:
            self._append(_encode(entry, self._run))
        except OSError as error:
            self._is_broken = True
            print(f"clusterkit's own steps are not kept in {self._path}: {error.strerror}", file=sys.stderr)

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, line)
            if os.fstat(handle).st_size >= self._max_bytes:
                self._rotate(handle)
        finally:
            os.close(handle)

    def _rotate(self, handle: int) -> None:
        """Only the file that still stands under the name is moved: another process may have been quicker."""
        fcntl.flock(handle, fcntl.LOCK_EX)
        if self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(handle)):
            self._path.replace(_older(self._path))


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _encode(entry: Entry, run: str) -> bytes:
    line: dict[str, Any] = {"t": entry.time_ns, "run": run, "level": entry.level, "phase": entry.phase}
    line["text"] = entry.text
    if entry.seconds is not None:
        line["seconds"] = round(entry.seconds, 6)
    line |= {key: value for key in ("node", "component") if (value := getattr(entry, key))}
    if entry.fields:
        line["fields"] = entry.fields
    return json.dumps(line, ensure_ascii=False, default=str).encode(errors="replace") + b"\n"


@dataclass(frozen=True)
class OwnStep:
    """One line of the file. `run` names the clusterkit process that wrote it; a fault is about several nodes."""

    run: str
    about_nodes: tuple[str, ...]
    about_component: str
    entry: LogEntry


def read_own(folder: Path) -> tuple[OwnStep, ...]:
    """All steps that the files still hold, in the order written."""
    tail = OwnTail(folder)
    try:
        return tuple(tail.read())
    finally:
        tail.close()


def of_life(steps: Iterable[OwnStep], born: str, next_born: str | None = None) -> tuple[OwnStep, ...]:
    """The steps of one life of a cluster: from its birth to the next one's.

    A cluster is born in the middle of an `up`, when its network is made: the steps of that very process before the
    birth belong to it too. All steps where the birth is not known.
    """
    all_steps = tuple(steps)
    if not born.isdigit():
        return all_steps
    begin = _begin(all_steps, int(born))
    end = _begin(all_steps, int(next_born)) if next_born else None
    return tuple(
        step for step in all_steps if step.entry.time_ns >= begin and (end is None or step.entry.time_ns < end)
    )


def _begin(steps: tuple[OwnStep, ...], born_ns: int) -> int:
    """When the process that gave birth began its work."""
    after = next((step for step in steps if step.entry.time_ns >= born_ns), None)
    if after is None:
        return born_ns
    return min((step.entry.time_ns for step in steps if step.run == after.run), default=born_ns)


class OwnTail:
    """Steps as they are added: the first `read` gives all there are, each later one those since the last."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file: int | None = None
        self._held = b""
        self._seq = 0
        self._open(_older(self._path))

    def read(self) -> Iterator[OwnStep]:
        if self._file is None:
            self._open(self._path)
        while self._file is not None:
            is_current = self._is_current()  # asked first: what is written before the file is moved is read below
            whole, _, self._held = (self._held + _rest(self._file)).rpartition(b"\n")
            for step in _decode(whole, self._seq):
                self._seq += 1
                yield step
            if is_current:
                return
            self.close()
            self._open(self._path)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._held = None, b""

    def _open(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _is_current(self) -> bool:
        """Whether the open file still stands under its name, or nothing does yet: then it may still get a line."""
        try:
            return self._file is not None and os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True


def _rest(handle: int) -> bytes:
    parts = []
    while part := os.read(handle, 2**20):
        parts.append(part)
    return b"".join(parts)


def _decode(data: bytes, seq: int) -> Iterator[OwnStep]:
    for line in data.split(b"\n"):
        try:
            read = json.loads(line)
        except ValueError:
            continue  # cut short by a kill or a full disk: the lines around it are whole
        entry = LogEntry(read["t"], OWN, OWN, "", "own", read["level"], _text(read), "", seq)
        seq += 1
        nodes = [read["node"]] if "node" in read else read.get("fields", {}).get("nodes", ())
        yield OwnStep(read["run"], tuple(nodes), read.get("component", ""), entry)


def _text(read: dict[str, Any]) -> str:
    text = str(read["text"])
    if read["phase"] == "start":
        return f"{text} ..."
    if read["phase"] == "failed":
        return f"failed after {read['seconds']:.2f} s: {text}"
    if read["phase"] == "end":
        return f"{text}: done in {read['seconds']:.2f} s"
    return text
