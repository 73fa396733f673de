"""L8, pure. Entries as people read them, and as programs do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle

from clusterkit.logs.entry import OWN, LogEntry
from clusterkit.logs.groups import Group
from clusterkit.logs.parse import for_people

_RESET = "\x1b[0m"
_NODES = ("\x1b[36m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[96m", "\x1b[92m", "\x1b[95m", "\x1b[94m")
_LEVELS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_OWN = "\x1b[1m"
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_SGR = re.compile(r"(\x1b\[[0-9;]*m)")
_PICTURES = {code: 0x2400 + code for code in range(32) if code != 9} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
"""Control characters -> their pictures: a log must not move the cursor of who reads it."""


_FIELDS = ("time", *LogEntry._fields[1:])
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class Text:
    """`12:03:04.567 cache-1   * message`; the further lines of an entry stand below its first, in the same column.

    The day is told in a line of its own where it is not today's (that of `now`, in seconds) or changes. The time that a
    program puts in front of its lines is left out where it says the same. `nodes` gives the width of their column.
    """

    def __init__(
        self, nodes: Sequence[str], *, has_colour: bool = False, utc: bool = False, now: float | None = None
    ) -> None:
        self._width = max((len(name) for name in nodes), default=0)
        self._zone = time.gmtime if utc else time.localtime
        self._day = time.strftime("%Y-%m-%d", self._zone(now))
        self._has_colour = has_colour
        self._colours = dict(zip(nodes, cycle(_NODES), strict=False)) | {OWN: _OWN}
        self._seconds = lru_cache(maxsize=64)(self._of_second)

    def __call__(self, entry: LogEntry) -> str:
        seconds, nanoseconds = divmod(entry.time_ns, 1_000_000_000)
        day, clock = self._seconds(seconds)
        before = ""
        if day != self._day:
            self._day = day
            before = self._painted(f"-- {day} --", _LEVELS["debug"]) + "\n"
        self._width = max(self._width, len(entry.node))
        at = f"{clock}.{nanoseconds // 1_000_000:03d}"
        name = self._painted(entry.node.ljust(self._width), self._colours.get(entry.node, _NODES[0]))
        first, *rest = entry.text.split("\n")
        indent = " " * (len(at) + self._width + 2)
        colour = _LEVELS.get(entry.level, "")
        lines = [f"{at} {name} {self._line(for_people(first, entry.time_ns), colour)}"]
        lines += [f"{indent}{self._line(line, colour)}" for line in rest]
        return before + "".join(f"{line.rstrip()}\n" for line in lines)

    def group(self, group: Group) -> str:
        """How often, first and last seen, on which nodes; below it the first of them, whole."""
        first, last = self._moment(group.first_ns), self._moment(group.last_ns)
        when = f"at {first}" if group.count == 1 else f"{first} to {last}"
        nodes = ", ".join(f"{name} {count}" if count > 1 else name for name, count in sorted(group.nodes.items()))
        head = self._painted(f"{group.count} x {group.component}", _OWN)
        lines = [for_people(line, group.first_ns) for line in group.sample.text.split("\n")]
        colour = _LEVELS.get(group.sample.level, "")
        said = "".join(f"    {self._line(line, colour)}".rstrip() + "\n" for line in lines)
        return f"{head}  {when}  {nodes}\n{said}"

    def _moment(self, time_ns: int) -> str:
        seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
        day, clock = self._seconds(seconds)
        return f"{'' if day == self._day else f'{day} '}{clock}.{nanoseconds // 1_000_000:03d}"

    def _of_second(self, seconds: int) -> tuple[str, str]:
        day, _, clock = time.strftime("%Y-%m-%d %H:%M:%S", self._zone(seconds)).partition(" ")
        return day, clock

    def _line(self, text: str, colour: str) -> str:
        if not _CONTROLS.search(text):
            return self._painted(text, colour)
        if not self._has_colour:
            return _SGR.sub("", text).translate(_PICTURES)
        parts = (part if _SGR.fullmatch(part) else part.translate(_PICTURES) for part in _SGR.split(text))
        return self._painted("".join(parts), colour or _RESET)

    def _painted(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._has_colour and colour else text


def as_json(entry: LogEntry) -> str:
    """One object on one line; `time` in UTC to the nanosecond, as a number it would be too long for many readers."""
    return _ENCODE(_object(entry)) + "\n"


def group_as_json(group: Group) -> str:
    """One object on one line; `sample` is the first entry, as `as_json` has it."""
    said = {
        "count": group.count,
        "component": group.component,
        "nodes": dict(sorted(group.nodes.items())),
        "first": _moment(group.first_ns),
        "last": _moment(group.last_ns),
        "like": group.like,
        "sample": _object(group.sample),
    }
    return _ENCODE(said) + "\n"


def _object(entry: LogEntry) -> dict[str, object]:
    said: dict[str, object] = dict(zip(_FIELDS, entry, strict=True))
    said["time"] = _moment(entry.time_ns)
    return said


def _moment(time_ns: int) -> str:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{_utc(seconds)}.{nanoseconds:09d}Z"


@lru_cache(maxsize=64)
def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
