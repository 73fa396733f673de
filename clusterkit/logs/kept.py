"""L8. The lines of a chaos test, kept in the folder of its run: JSON lines, by time, with the levels that were read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from clusterkit.logs.entry import LogEntry

NAME = "logs.jsonl"
_NEEDED = frozenset(("time_ns", "node", "level", "text"))


def keep(folder: Path, entries: Iterable[LogEntry]) -> Iterator[LogEntry]:
    """Writes one line of JSON for each entry, and hands it on."""
    with (folder / NAME).open("w", encoding="utf-8", errors="replace") as file:
        for entry in entries:
            line = {
                "time": datetime.fromtimestamp(entry.time_ns / 1e9, UTC).isoformat(),
                "time_ns": entry.time_ns,
                "node": entry.node,
                "component": entry.component,
                "zone": entry.zone,
                "stream": entry.stream,
                "level": entry.level,
                "text": entry.text,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            yield entry


def read_kept(folder: Path) -> Iterator[LogEntry]:
    """None where lines were not collected; a line that a killed run left half written is passed by."""
    path = folder / NAME
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for seq, line in enumerate(file):
            try:
                one = json.loads(line)
            except ValueError:
                continue
            if isinstance(one, dict) and one.keys() >= _NEEDED and isinstance(one["time_ns"], int):
                component = one.get("component") or one["node"].rpartition("-")[0]
                zone, stream = one.get("zone", ""), one.get("stream", "stdout")
                yield LogEntry(one["time_ns"], one["node"], component, zone, stream, one["level"], one["text"], "", seq)
