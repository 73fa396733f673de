"""L8, pure. Many nodes -> one timeline.

Two promises, whatever the clocks do: the order within one node is never changed, and nothing is lost or doubled. So an
entry is sorted by the latest time that its node had reached, not by its own: where a clock steps back, what comes after
the step waits in line behind what came before it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from clusterkit.logs.entry import LogEntry


def merge(nodes: Sequence[Iterable[LogEntry]]) -> Iterator[LogEntry]:
    """By time; at the same time in the order of `nodes`. Reads one entry ahead of each."""
    for _, entry in heapq.merge(*(_reached(node) for node in nodes), key=itemgetter(0)):
        yield entry


def _reached(node: Iterable[LogEntry]) -> Iterator[tuple[int, LogEntry]]:
    latest = 0
    for entry in node:
        latest = max(latest, entry.time_ns)
        yield latest, entry


class HoldBack:
    """The same while nodes go on writing: an entry waits `seconds` for earlier ones of other nodes, no longer.

    `now` is the monotonic clock, in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[int, deque[tuple[int, float, LogEntry]]] = {}
        self._latest: dict[int, int] = {}

    def put(self, node: int, entry: LogEntry, now: float) -> None:
        """`node` is its place in the order of nodes."""
        latest = max(self._latest.get(node, 0), entry.time_ns)
        self._latest[node] = latest
        self._waiting.setdefault(node, deque()).append((latest, now, entry))

    def take(self, now: float) -> Iterator[LogEntry]:
        """What has waited long enough, in order."""
        yield from self._until(now - self._seconds)

    def drain(self) -> Iterator[LogEntry]:
        """All the rest, in order."""
        yield from self._until(float("inf"))

    def _until(self, moment: float) -> Iterator[LogEntry]:
        heads = [(queue[0][0], node) for node, queue in self._waiting.items() if queue]
        heapq.heapify(heads)
        while heads:
            _, node = heads[0]
            queue = self._waiting[node]
            if queue[0][1] > moment:
                return
            yield queue.popleft()[2]
            if queue:
                heapq.heapreplace(heads, (queue[0][0], node))
            else:
                heapq.heappop(heads)
