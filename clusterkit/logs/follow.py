"""L8. Follows all nodes of a cluster: across restarts, nodes made anew and new nodes; nothing lost, nothing doubled.

One thread asks the provider which nodes there are; one thread per container reads its log and, when the log ends, asks
again from where it was. All else happens in the caller's thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from clusterkit.clock import SYSTEM, Clock
from clusterkit.components.base import LogFormat
from clusterkit.errors import ClusterkitError, NodeUnreachable
from clusterkit.logs.archive import find_archives, read_archive
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.join import Joiner
from clusterkit.logs.merge import HoldBack
from clusterkit.logs.own import OwnStep, OwnTail
from clusterkit.logs.parse import LevelReader
from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord, LogLine, NodeRecord, Provider

POLL_SECONDS = 0.5
HOLD_SECONDS = 0.15
_IDLE_SECONDS = 0.1
"""A trace that got no line for so long is complete."""
_TICK_SECONDS = 0.05
_RETRY_SECONDS = 1.0
_SLACK_NS = 2_000_000_000
_FULL = 50_000
"""Lines that wait for a slow reader of ours before we stop reading from the engine."""
_OWN_PLACE = 1_000_000


class Cursor:
    """How far the log of one container was read, so that it can be read on from there.

    A log only grows, so for any moment S the lines written at or after S are a sequence that only grows, too: "of those
    since S, the first N were taken" is exact, however many lines share a nanosecond, and in whatever order their times
    are. S lies two seconds before the latest line, so that little is read twice; where the engine's clock was set back
    by more, S is the beginning.
    """

    def __init__(self, floor_ns: int = 0) -> None:
        self._floor_ns = floor_ns
        self._latest_ns = floor_ns
        self._total = 0
        self._has_stepped = False
        self._recent: deque[int] = deque()

    def take(self, time_ns: int) -> None:
        """A line of this time was read."""
        self._total += 1
        self._latest_ns = max(self._latest_ns, time_ns)
        safe = self._latest_ns - _SLACK_NS
        self._has_stepped = self._has_stepped or time_ns < safe
        self._recent.append(time_ns)
        while self._recent and self._recent[0] < safe:
            self._recent.popleft()

    def position(self, wall_ns: int) -> tuple[int, int]:
        """(S, N): ask for the lines since S, leave out the first N. `wall_ns` is the time now."""
        if self._has_stepped or wall_ns < self._latest_ns:
            return self._floor_ns, self._total
        since = max(self._floor_ns, self._latest_ns - _SLACK_NS)
        return since, sum(1 for time_ns in self._recent if time_ns >= since)

    def rest(self, lines: Iterable[LogLine], since_ns: int, taken: int) -> Iterator[LogLine]:
        """The lines not taken yet, out of those read from a position; takes them."""
        for line in lines:
            if line.time_ns < since_ns:
                continue
            if taken:
                taken -= 1
                continue
            self.take(line.time_ns)
            yield line


@dataclass(frozen=True)
class Wanted:
    """What to follow. `nodes` picks from what there is, now and later; `own` from clusterkit's own steps."""

    cluster: str
    folders: tuple[Path, ...]
    formats: Callable[[str], LogFormat]
    nodes: Callable[[NodeRecord], bool] = lambda _record: True
    own: Callable[[OwnStep], bool] = lambda _step: False


class _Reader(threading.Thread):
    """Reads the log of one container to its end, which comes when the container is removed."""

    def __init__(self, follower: _Follower, record: NodeRecord, cursor: Cursor) -> None:
        super().__init__(name=f"log of {record.name}", daemon=True)
        self.record = record
        self.is_running = threading.Event()
        self.is_gone = threading.Event()
        self._follower = follower
        self._cursor = cursor
        self._lines: Iterator[LogLine] | None = None

    def run(self) -> None:
        follower = self._follower
        try:
            while not follower.stop.is_set():
                was_gone = self.is_gone.is_set()
                self.is_running.clear()
                self._read_on(self._archived() if was_gone else self._live())
                if was_gone:
                    break
                self.is_running.wait(_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001  raised again in the caller's thread
            follower.inbox.put(error)
        follower.inbox.put(self)

    def close(self) -> None:
        """Ends a read that waits for a line."""
        close = getattr(self._lines, "close", None)
        if close is not None:
            close()

    def _read_on(self, lines: Iterator[LogLine]) -> None:
        follower = self._follower
        for line in lines:
            follower.inbox.put((self, line))
            while follower.inbox.qsize() > _FULL and not follower.stop.is_set():
                follower.stop.wait(_TICK_SECONDS)
            if follower.stop.is_set():
                return

    def _live(self) -> Iterator[LogLine]:
        since, taken = self._cursor.position(self._follower.clock.wall_ns())
        try:
            self._lines = self._follower.provider.logs(self.record, since, follow=True)
        except NodeUnreachable:
            return  # removed; the provider will say so, and then the archive has the rest
        if self._follower.stop.is_set():
            self.close()
        yield from self._cursor.rest(self._lines, since, taken)

    def _archived(self) -> Iterator[LogLine]:
        since, taken = self._cursor.position(self._follower.clock.wall_ns())
        wanted = self._follower.wanted
        for archived in find_archives(wanted.folders, wanted.cluster, self.record.born):
            if archived.runtime_id == self.record.runtime_id:
                yield from self._cursor.rest(read_archive(archived, since), since, taken)


@dataclass
class _Source:
    """One container that is followed: its thread, its joiner, its node's place in the order."""

    record: NodeRecord
    reader: _Reader
    place: int
    joiner: Joiner
    level: LevelReader
    arrived: float = 0.0
    seq: int = 0


Inbox = SimpleQueue["tuple[_Reader, LogLine] | ClusterRecord | None | Exception | _Reader"]


@dataclass
class _Follower:
    provider: Provider
    wanted: Wanted
    cursors: dict[str, Cursor]
    clock: Clock
    poll: float
    hold: HoldBack
    tail: OwnTail | None
    places: dict[str, int]
    inbox: Inbox = field(default_factory=SimpleQueue)
    stop: threading.Event = field(default_factory=threading.Event)
    sources: dict[str, _Source] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    waiting: dict[str, NodeRecord] = field(default_factory=dict)
    live: Mapping[str, NodeRecord] = field(default_factory=dict)
    has_seen: bool = False
    is_gone: bool = False

    def run(self) -> Generator[LogEntry, None, None]:
        watcher = threading.Thread(target=self._watch, name="nodes", daemon=True)
        watcher.start()
        try:
            while not (self.is_gone and not self.sources and not self.waiting):
                self._take_in()
                now = self.clock.monotonic()
                self._settle(now)
                self._own(now)
                yield from self.hold.take(now)
            yield from self.hold.drain()
        finally:
            self.stop.set()
            for source in self.sources.values():
                source.reader.close()
            for thread in (watcher, *(source.reader for source in self.sources.values())):
                thread.join(timeout=2.0)

    def _watch(self) -> None:
        while not self.stop.is_set():
            try:
                self.inbox.put(self.provider.find(self.wanted.cluster))
            except ClusterkitError as error:
                self.inbox.put(error)
                return
            self.stop.wait(self.poll)

    def _take_in(self) -> None:
        """Waits a little for something to come, then takes in all there is."""
        try:
            item = self.inbox.get(timeout=_TICK_SECONDS)
            now = self.clock.monotonic()
            for _ in range(_FULL):
                if isinstance(item, tuple):
                    self._line(*item, now)
                elif isinstance(item, Exception):
                    raise item
                elif isinstance(item, _Reader):
                    self._end(item, now)
                else:
                    self._nodes(item)
                item = self.inbox.get_nowait()
        except Empty:
            return

    def _line(self, reader: _Reader, line: LogLine, now: float) -> None:
        source = self.sources[reader.record.runtime_id]
        record = source.record
        entry = LogEntry(
            line.time_ns,
            record.name,
            record.component,
            record.zone,
            line.stream,
            "",
            line.text,
            record.runtime_id,
            source.seq,
        )
        source.seq += 1
        source.arrived = now
        self._put(source, source.joiner.feed(entry), now)

    def _put(self, source: _Source, entries: Iterable[LogEntry], now: float) -> None:
        for entry in entries:
            self.hold.put(source.place, entry._replace(level=source.level(entry.text)), now)

    def _settle(self, now: float) -> None:
        for source in self.sources.values():
            if not source.joiner.is_empty and now - source.arrived >= _IDLE_SECONDS:
                self._put(source, source.joiner.flush(), source.arrived)

    def _own(self, now: float) -> None:
        if self.tail is not None:
            for step in self.tail.read():
                if self.wanted.own(step):
                    self.hold.put(_OWN_PLACE, step.entry, now)

    def _nodes(self, record: ClusterRecord | None) -> None:
        """What the provider says now: begins to read new nodes, tells the readers of those that are gone."""
        self.live = {node.runtime_id: node for node in record.nodes} if record else {}
        self.has_seen = self.has_seen or bool(self.live)
        self.is_gone = self.has_seen and not self.live and not (record and record.subnet)
        for runtime_id, source in self.sources.items():
            if runtime_id not in self.live:
                source.reader.is_gone.set()
            if runtime_id not in self.live or self.live[runtime_id].state is State.RUNNING:
                source.reader.is_running.set()
        known = {*self.sources, *self.ended, *self.live}
        for node in (*self._came_and_went(record, known), *self.live.values()):
            if node.runtime_id not in self.sources and node.runtime_id not in self.ended and self.wanted.nodes(node):
                self.waiting[node.runtime_id] = node
        self._begin()

    def _begin(self) -> None:
        """A node made anew is read when its predecessor has been read to the end, so that their lines keep order."""
        for runtime_id, node in list(self.waiting.items()):
            if any(source.record.name == node.name for source in self.sources.values()):
                continue
            del self.waiting[runtime_id]
            level = LevelReader(self.wanted.formats(node.kind))
            reader = _Reader(self, node, self.cursors.setdefault(runtime_id, Cursor()))
            place = self.places.setdefault(node.name, len(self.places))
            self.sources[runtime_id] = _Source(node, reader, place, Joiner(level), level)
            if runtime_id not in self.live:
                reader.is_gone.set()
            reader.start()

    def _came_and_went(self, record: ClusterRecord | None, known: Set[str]) -> Iterator[NodeRecord]:
        """Nodes made and removed between two looks: their archived logs are all that is left of them."""
        if record is not None and record.born:
            for archived in find_archives(self.wanted.folders, self.wanted.cluster, record.born, known=known):
                yield archived.record

    def _end(self, reader: _Reader, now: float) -> None:
        runtime_id = reader.record.runtime_id
        source = self.sources.pop(runtime_id)
        self._put(source, source.joiner.flush(), now)
        self.ended.add(runtime_id)
        self._begin()


def follow(
    provider: Provider,
    wanted: Wanted,
    *,
    cursors: Mapping[str, Cursor] | None = None,
    done: Iterable[str] = (),
    order: Sequence[str] = (),
    tail: OwnTail | None = None,
    clock: Clock = SYSTEM,
    poll: float = POLL_SECONDS,
    hold: float = HOLD_SECONDS,
) -> Generator[LogEntry, None, None]:
    """Entries of all nodes as they are written, merged; ends when the cluster is gone. Waits for one not yet there.

    `cursors`: runtime id -> how far it was read already. `done`: runtime ids (of archived nodes) read to their end.
    `order` of nodes at the same time. `tail` gives clusterkit's own steps, from where it is. An entry waits `hold`
    seconds for earlier ones of slower nodes. Closing the iterator ends all threads and connections.
    """
    follower = _Follower(
        provider,
        wanted,
        dict(cursors or {}),
        clock,
        poll,
        HoldBack(hold),
        tail,
        {name: place for place, name in enumerate(order)},
        ended=set(done),
        has_seen=bool(cursors),
    )
    return follower.run()
