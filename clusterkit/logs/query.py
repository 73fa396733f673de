"""L8. What `clusterkit logs` asks: the timeline of a cluster, from the engine, from archives and from our own steps."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from clusterkit.clock import SYSTEM, Clock
from clusterkit.components.base import LogFormat
from clusterkit.errors import NodeUnreachable
from clusterkit.logs.archive import Archived, find_archives, last_life, read_archive
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.follow import Cursor, Wanted, follow
from clusterkit.logs.join import join
from clusterkit.logs.merge import merge
from clusterkit.logs.own import OwnStep, OwnTail, of_life, read_own
from clusterkit.logs.parse import LevelReader, is_at_least
from clusterkit.providers.base import ClusterRecord, LogLine, NodeRecord, Provider

Entries = Generator[LogEntry, None, None]
"""Closing it ends all threads and connections."""


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted; all of it has to hold.

    since_ns, until_ns  written at or after, and at or before; in ns since 1970
    grep                found anywhere in the text of an entry, so that a stack trace is found by any of its lines
    trace               the same, for what `trace_pattern` made
    level               the least level; "" is all. An entry without a level counts as info
    tail                only the last so many entries of the whole merged timeline
    with_level          whether entries need their level read though nobody filters by it
    """

    since_ns: int = 0
    until_ns: int | None = None
    grep: re.Pattern[str] | None = None
    trace: re.Pattern[str] | None = None
    level: str = ""
    tail: int | None = None
    with_level: bool = True

    def apply(self, entries: Iterable[LogEntry], levels: Levels) -> Iterator[LogEntry]:
        """Entries that pass, with their levels. Levels cost the most, so they are read last."""
        passing: Iterator[LogEntry] = (entry for entry in entries if self._is_in_time(entry))
        for pattern in (self.grep, self.trace):
            if pattern is not None:
                passing = _found(passing, pattern)
        if self.level:
            passing = (entry for entry in map(levels.add, passing) if is_at_least(entry.level, self.level))
        if self.tail is not None:
            passing = (entry for entry in deque(passing, maxlen=self.tail))
        return map(levels.add, passing) if self.with_level and not self.level else passing

    def _is_in_time(self, entry: LogEntry) -> bool:
        return self.since_ns <= entry.time_ns and (self.until_ns is None or entry.time_ns <= self.until_ns)


def _found(entries: Iterator[LogEntry], pattern: re.Pattern[str]) -> Iterator[LogEntry]:
    return (entry for entry in entries if pattern.search(entry.text) is not None)


def trace_pattern(trace: str) -> re.Pattern[str]:
    """Finds lines that carry this trace id, in JSON or as text: trace_id=ID, "traceId": "ID", traceparent: 00-ID-..."""
    key = r"\btrace(?:[_.-]?id|[_-]?parent)?\b"
    return re.compile(rf"""{key}["']?\s*[=:]\s*["']?(?:[0-9a-f]{{2}}-)?{re.escape(trace)}(?![\w])""", re.IGNORECASE)


class Levels:
    """Reads the level of entries that have none, each in the way of its node's kind."""

    def __init__(self, formats: Callable[[str], LogFormat]) -> None:
        self._formats = formats
        self._readers: dict[str, LevelReader] = {}

    def of(self, node: NodeRecord) -> LevelReader:
        """The reader for this node, known from now on."""
        return self._readers.setdefault(node.name, LevelReader(self._formats(node.kind)))

    def add(self, entry: LogEntry) -> LogEntry:
        reader = self._readers.get(entry.node)
        return entry if entry.level or reader is None else entry._replace(level=reader(entry.text))


@dataclass(frozen=True)
class Scope:
    """Where the lines of a cluster are, and whose are wanted.

    `record` is what the provider says now (None: the cluster is not up). `folders` are the cluster's, the first is the
    one where our own steps are. `formats` gives the LogFormat of a kind. `nodes` and `own` pick nodes and own steps.
    """

    cluster: str
    record: ClusterRecord | None
    folders: tuple[Path, ...]
    formats: Callable[[str], LogFormat]
    nodes: Callable[[NodeRecord], bool] = lambda _record: True
    own: Callable[[OwnStep], bool] = lambda _step: True


@dataclass
class _Past:
    """What reading the past leaves for following: how far each container was read, which archives are done.

    `cursors` is None where nobody will follow: counting lines costs time.
    """

    levels: Levels
    cursors: dict[str, Cursor] | None = None
    done: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)


def nodes_of(scope: Scope) -> tuple[NodeRecord, ...]:
    """The nodes of this life that have lines, each once: those there now, then those of which only archives are left.

    Without a `record`, those of all archives.
    """
    live = scope.record.nodes if scope.record else ()
    born = scope.record.born if scope.record else None
    past = [archived.record for archived in find_archives(scope.folders, scope.cluster, born)]
    gone = {node.name: node for node in past if all(node.name != other.name for other in live)}
    return (*live, *sorted(gone.values(), key=lambda node: (node.component, node.index)))


def read(provider: Provider, scope: Scope, wanted: Filter) -> Entries:
    """The merged timeline of this life of the cluster up to now: what runs, and what was made anew in it."""
    tail = OwnTail(scope.folders[0])
    try:
        past = _Past(Levels(scope.formats))
        yield from wanted.apply(_past(provider, scope, wanted.since_ns, past, tail), past.levels)
    finally:
        tail.close()


def read_and_follow(provider: Provider, scope: Scope, wanted: Filter, clock: Clock = SYSTEM) -> Entries:
    """The same, and then goes on as lines are written, until the cluster is gone. Close it to end it."""
    past = _Past(Levels(scope.formats), cursors={})
    tail = OwnTail(scope.folders[0])
    try:
        yield from wanted.apply(_past(provider, scope, wanted.since_ns, past, tail), past.levels)
        future = Wanted(scope.cluster, scope.folders, scope.formats, scope.nodes, scope.own)
        entries = follow(
            provider, future, cursors=past.cursors, done=past.done, order=past.order, tail=tail, clock=clock
        )
        with closing(entries):
            yield from replace(wanted, tail=None).apply(entries, past.levels)
    finally:
        tail.close()


def read_archived(scope: Scope, wanted: Filter) -> Entries:
    """The merged timeline of the youngest life that has archived logs; needs no engine."""
    everything = find_archives(scope.folders, scope.cluster)
    born = last_life(everything)
    if born is None:
        return
    mine = [archived for archived in everything if archived.born == born]
    lives = sorted({int(archived.born) for archived in everything if archived.born.isdigit()})
    later = [str(life) for life in lives if born.isdigit() and life > int(born)]
    runs: dict[str, list[Archived]] = {}
    for archived in sorted(mine, key=lambda each: (each.component, each.index)):
        if scope.nodes(archived.record):
            runs.setdefault(archived.node, []).append(archived)
    levels = Levels(scope.formats)
    nodes = [
        _entries(levels, each[0].record, _chain([_archived_run(archived, wanted.since_ns) for archived in each]))
        for each in runs.values()
    ]
    own = of_life(read_own(scope.folders[0]), born, later[0] if later else None)
    nodes.append(step.entry for step in own if scope.own(step))
    yield from wanted.apply(merge(nodes), levels)


Run = tuple[str, Iterator[LogLine]]
"""The runtime id of a container, and its lines."""


def _past(provider: Provider, scope: Scope, since_ns: int, past: _Past, tail: OwnTail) -> Iterator[LogEntry]:
    record = scope.record
    sources: list[Iterable[LogEntry]] = []
    if record is not None:
        live = {node.runtime_id for node in record.nodes}
        archives: dict[str, list[Archived]] = {}
        for archived in find_archives(scope.folders, scope.cluster, record.born, known=live):
            archives.setdefault(archived.node, []).append(archived)
        gone = [each[0].record for name, each in archives.items() if record.node(name) is None]
        for node in (*record.nodes, *gone):
            if not scope.nodes(node):
                continue
            past.order.append(node.name)
            runs = [_archived_run(archived, since_ns) for archived in archives.get(node.name, ())]
            past.done.update(archived.runtime_id for archived in archives.get(node.name, ()))
            if node.runtime_id in live:
                runs.append(_live_run(provider, scope, node, since_ns, past))
            sources.append(_entries(past.levels, node, _chain(runs)))
    steps = tuple(tail.read())
    mine = of_life(steps, record.born) if record is not None else ()
    sources.append(step.entry for step in mine if scope.own(step))
    return merge(sources)


def _live_run(provider: Provider, scope: Scope, node: NodeRecord, since_ns: int, past: _Past) -> Run:
    """Asks the engine at once, so that it reads all nodes side by side while we merge."""
    try:
        lines = provider.logs(node, since_ns)
    except NodeUnreachable:  # removed since we looked, and archived before that
        found = find_archives(scope.folders, scope.cluster, node.born)
        lines = chain.from_iterable(
            read_archive(each, since_ns) for each in found if each.runtime_id == node.runtime_id
        )
    if past.cursors is not None:
        cursor = past.cursors[node.runtime_id] = Cursor(since_ns)
        lines = cursor.rest(lines, since_ns, 0)
    return node.runtime_id, lines


def _archived_run(archived: Archived, since_ns: int) -> Run:
    return archived.runtime_id, read_archive(archived, since_ns)


def _chain(runs: Sequence[Run]) -> Iterator[tuple[str, LogLine]]:
    """The runs of one node, one after the other."""
    for runtime_id, lines in runs:
        for line in lines:
            yield runtime_id, line


def _entries(levels: Levels, node: NodeRecord, lines: Iterator[tuple[str, LogLine]]) -> Iterator[LogEntry]:
    """Lines of one node -> entries, joined; without levels."""
    name, component, zone = node.name, node.component, node.zone
    plain = (
        LogEntry(line.time_ns, name, component, zone, line.stream, "", line.text, runtime_id, seq)
        for seq, (runtime_id, line) in enumerate(lines)
    )
    return join(plain, levels.of(node))
