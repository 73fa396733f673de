"""L5. What is broken now: one entry a fault, written down before the fault is made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ENDED = "ended"
OVERDUE = "overdue"


def now() -> float:
    """Seconds since the machine was started; suspended time counts, and nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Entry:
    """A fault in force. `until`: by `now()`, None for ever; `before`: what `undo` needs to know.

    `args` are the kind's own, made of JSON values; a node in them is a mapping of `name`, `address` and `id` (its
    container's). `engine`: healing it also needs the engine (a node has to be started), so that the agent alone can
    only say that it is overdue. `boot` names the life of the machine in which the fault was made.
    """

    id: str
    cluster: str
    fault: str
    kind: str
    words: str
    nodes: list[str]
    since_ns: int
    until: float | None
    boot: str
    owner: str = ""
    engine: bool = False
    is_overdue: bool = False
    args: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""

    @property
    def is_over(self) -> bool:
        return self.until is not None and now() >= self.until

    def told(self) -> dict[str, Any]:
        """For clients: `left_s` in place of `until`."""
        said = asdict(self)
        until = said.pop("until")
        return {**said, "left_s": None if until is None else max(0.0, until - now())}


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Ledger:
    """A folder with a file for each entry. What `write` wrote is on the disk when it returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, entry: Entry, *, is_urgent: bool = True) -> None:
        """`is_urgent`: wait for the disk."""
        path = self._path(entry.id)
        new = path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(asdict(entry), file)
            if is_urgent:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)
        if is_urgent:
            self._sync_folder()

    def next_number(self, word: str) -> int:
        """1, 2, ... for each word, also across the lives of agents."""
        path = self.folder / "numbers"
        try:
            numbers = json.loads(path.read_text())
        except (OSError, ValueError):
            numbers = {}
        numbers[word] = numbers.get(word, 0) + 1
        new = self.folder / "numbers.new"
        new.write_text(json.dumps(numbers))
        new.replace(path)
        return int(numbers[word])

    def remove(self, entry: Entry) -> None:
        self._path(entry.id).unlink(missing_ok=True)

    def read(self) -> Iterator[Entry]:
        """All entries, oldest first. A file that was not written whole was never acted on: it is removed."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                found.append(Entry(**json.loads(path.read_text())))
            except (ValueError, TypeError):
                path.unlink()
        for path in self.folder.glob("*.new"):
            path.unlink()
        yield from sorted(found, key=lambda entry: entry.since_ns)

    def _path(self, identity: str) -> Path:
        return self.folder / f"{identity.replace('/', '_')}.json"

    def _sync_folder(self) -> None:
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
