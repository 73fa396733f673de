"""L0. What clusterkit itself does, as it does it: structured lines with times, for people and for the timeline.

Every layer gets a Journal and tells it steps and facts; who listens (a terminal, a file beside the topology, a test)
is decided at the edge. Levels are those of logs: debug, info, warning, error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from clusterkit.clock import SYSTEM, Clock

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Entry:
    """One line: `time_ns` since 1970; `phase` says whether a step starts, ends or fails, or a plain fact is told."""

    time_ns: int
    text: str
    level: Level = "info"
    phase: Literal["fact", "start", "end", "failed"] = "fact"
    seconds: float | None = None
    node: str = ""
    component: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Entry], None]


class Journal:
    """Passes entries to its listeners, one at a time, from any thread."""

    def __init__(self, *listeners: Listener, clock: Clock = SYSTEM) -> None:
        self._listeners = list(listeners)
        self._clock = clock
        self._lock = threading.Lock()

    def listen(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)

    def say(self, text: str, *, level: Level = "info", node: str = "", component: str = "", **fields: Any) -> None:
        """A fact: "cache-1 is the primary"."""
        self._tell(Entry(self._clock.wall_ns(), text, level, node=node, component=component, fields=fields))

    @contextmanager
    def step(self, text: str, *, level: Level = "info", node: str = "", component: str = "") -> Iterator[None]:
        """A piece of work with a start and an end: "create 9 nodes". Its end carries the seconds it took."""
        begun = self._clock.monotonic()

        def tell(phase: Literal["start", "end", "failed"], at: Level) -> None:
            seconds = None if phase == "start" else self._clock.monotonic() - begun
            self._tell(Entry(self._clock.wall_ns(), text, at, phase, seconds, node, component))

        tell("start", level)
        try:
            yield
        except BaseException:
            tell("failed", "error")
            raise
        tell("end", level)

    def _tell(self, entry: Entry) -> None:
        with self._lock:
            for listener in self._listeners:
                listener(entry)
