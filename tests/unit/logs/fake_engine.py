"""A provider in memory whose nodes write, restart, are made anew and go; following it works as with a real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from clusterkit.errors import NodeUnreachable
from clusterkit.logs.entry import LogEntry
from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord, LogLine, NodeRecord

BORN = "1700000000000000000"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def entry(time_ns: int, text: str = "", node: str = "a-1", stream: Literal["stdout", "stderr"] = "stdout") -> LogEntry:
    return LogEntry(time_ns, node, node[:-2], "a", stream, "", text or str(time_ns), f"id-of-{node}", 0)


def node_record(name: str, runtime_id: str = "", zone: str = "a", state: State = State.RUNNING) -> NodeRecord:
    component, _, index = name.rpartition("-")
    number = runtime_id or f"{name}-first-container"
    return NodeRecord(name, "shop", component, "service", zone, int(index), "", {}, {}, number, state, born=BORN)


class Stream(Iterator[LogLine]):
    """One reading of a log. `close` ends a reader that waits, as the real one does."""

    def __init__(self, engine: FakeEngine, runtime_id: str, since_ns: int, follow: bool) -> None:
        self._engine, self._id, self._since, self._follow = engine, runtime_id, since_ns, follow
        self._at = 0
        self._run = engine.runs[runtime_id]
        self._is_closed = False

    def __next__(self) -> LogLine:
        engine = self._engine
        with engine.changed:
            while not self._is_closed:
                lines = engine.lines.get(self._id, [])
                if self._at < len(lines):
                    self._at += 1
                    if lines[self._at - 1].time_ns >= self._since:
                        return lines[self._at - 1]
                elif self._follow and engine.runs.get(self._id) == self._run and engine.is_running(self._id):
                    engine.changed.wait(5)
                else:
                    break
        raise StopIteration

    def close(self) -> None:
        with self._engine.changed:
            self._is_closed = True
            self._engine.changed.notify_all()


@dataclass
class FakeEngine:
    """`lines` and `runs` (how often it was started) by runtime id; `nodes` by name. `asked` counts readings."""

    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    lines: dict[str, list[LogLine]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    subnet: str = "10.0.0.0/24"
    asked: int = 0

    def make(self, name: str, runtime_id: str = "") -> NodeRecord:
        record = node_record(name, runtime_id)
        with self.changed:
            self.nodes[name] = record
            self.lines[record.runtime_id] = []
            self.runs[record.runtime_id] = 1
        return record

    def write(self, name: str, *texts: str, time_ns: int) -> None:
        with self.changed:
            self.lines[self.nodes[name].runtime_id] += [LogLine(time_ns, "stdout", text) for text in texts]
            self.changed.notify_all()

    def end(self, name: str) -> None:
        with self.changed:
            self.nodes[name] = replace(self.nodes[name], state=State.EXITED)
            self.changed.notify_all()

    def start(self, name: str) -> None:
        with self.changed:
            self.nodes[name] = replace(self.nodes[name], state=State.RUNNING)
            self.runs[self.nodes[name].runtime_id] += 1
            self.changed.notify_all()

    def remove(self, name: str) -> None:
        with self.changed:
            gone = self.nodes.pop(name)
            del self.lines[gone.runtime_id], self.runs[gone.runtime_id]
            self.changed.notify_all()

    def is_running(self, runtime_id: str) -> bool:
        return any(n.runtime_id == runtime_id and n.state is State.RUNNING for n in self.nodes.values())

    def find(self, cluster: str) -> ClusterRecord | None:
        with self.changed:
            if not self.nodes:
                return None
            return ClusterRecord(cluster, "", self.subnet, BORN, tuple(self.nodes.values()))

    def logs(self, record: NodeRecord, since_ns: int = 0, follow: bool = False) -> Iterator[LogLine]:
        with self.changed:
            self.asked += 1
            if record.runtime_id not in self.runs:
                raise NodeUnreachable(f"{record.name} is gone")
            return Stream(self, record.runtime_id, since_ns, follow)

    @property
    def address(self) -> str:
        return "fake://engine"

    def abilities(self) -> Any:
        return frozenset()

    def clusters(self) -> Any:
        return ()

    def node(self, record: NodeRecord) -> Any:
        raise NodeUnreachable(f"{record.name} is a fake")
