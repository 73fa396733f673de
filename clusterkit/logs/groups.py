"""L8, pure. Many errors -> few: entries that differ only in numbers, names and times are one group."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from clusterkit.logs.entry import LogEntry

_LEAST_WORDS = 3
_SAME = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d([.,]\d+)?\b"), "TIME"),
    (re.compile(r"\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b"), "ADDRESS"),
    (re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''), "TEXT"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE), "HEX"),
    (re.compile(r"\d+(\.\d+)?"), "N"),
)
_MESSAGES = ("msg", "message", "error", "err", "exception", "text")
_FRAME = re.compile(r"^\s|^Traceback |^Caused by|^goroutine ")


@dataclass
class Group:
    """Entries of one component that are alike. `sample`: the first of them; times in ns since 1970."""

    component: str
    like: str
    sample: LogEntry
    last_ns: int
    count: int = 0
    nodes: dict[str, int] = field(default_factory=dict)

    @property
    def first_ns(self) -> int:
        return self.sample.time_ns

    def add(self, entry: LogEntry) -> None:
        self.count += 1
        self.last_ns = max(self.last_ns, entry.time_ns)
        self.nodes[entry.node] = self.nodes.get(entry.node, 0) + 1


def grouped(entries: Iterable[LogEntry]) -> list[Group]:
    """Most frequent first, then by when each was first seen. Keeps one entry of each group, no more."""
    found: dict[tuple[str, str], Group] = {}
    for entry in entries:
        key = entry.component, likeness(entry.text)
        if key not in found:
            found[key] = Group(*key, sample=entry, last_ns=entry.time_ns)
        found[key].add(entry)
    return sorted(found.values(), key=lambda group: (-group.count, group.first_ns))


def likeness(text: str) -> str:
    """What alike entries have in common: their message without what changes from one to the next.

    Of a stack trace: what was raised, and where: its last words and its innermost frames tell more than its first line.
    """
    lines = text.splitlines() or [""]
    if len(lines) > 1:
        said = [line for line in lines if line.strip() and not _FRAME.match(line)]
        frames = [line.strip() for line in lines if _FRAME.match(line)]
        return _without_details(" | ".join([*(said[:1] + said[-1:]), *islice(reversed(frames), 2)]))
    return _without_details(_message(text))


def _message(line: str) -> str:
    """Of a line in JSON, what it says; else the line."""
    if line.lstrip().startswith("{"):
        try:
            read: Any = json.loads(line)
        except ValueError:
            return line
        for key in _MESSAGES:
            if isinstance(read.get(key), str):
                return str(read[key])
    return line


def _without_details(text: str) -> str:
    like = text
    for pattern, word in _SAME:
        like = pattern.sub(word, like)
    like = " ".join(like.split())
    return like if len(re.findall(r"[a-z]{2,}", like)) >= _LEAST_WORDS or '"' not in text else " ".join(text.split())
