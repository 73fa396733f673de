"""Nodes without an engine: processes that are entries of a table, and a ledger that is a list."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from clusterkit.agent.program import nodes
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kinds import process


class Box:
    """The entries in force."""

    def __init__(self) -> None:
        self.all: list[Entry] = []

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        return [entry for entry in self.all if entry.kind == kind and cluster in ("", entry.cluster)]


@dataclass
class Machine:
    """container's id -> pid -> state; the first pid is the init, the second the service. `starts` counts lives."""

    containers: dict[str, dict[int, str]] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    sent: list[tuple[int, int]] = field(default_factory=list)

    def start(self, container: str, *pids: int) -> None:
        """Pids that were used before are other processes now."""
        self.containers[container] = dict.fromkeys(pids, "S")
        for pid in pids:
            self.starts[pid] = self.starts.get(pid, 0) + 1

    def init(self, container: str) -> int | None:
        return next(iter(self.containers.get(container, {})), None)

    def main(self, container: str) -> int | None:
        return next(iter(list(self.containers.get(container, {}))[1:2]), None)

    def processes(self, container: str) -> list[int]:
        return sorted(self.containers.get(container, {}))

    def stat(self, pid: int) -> list[str]:
        for states in self.containers.values():
            if pid in states:
                return [states[pid], *["0"] * 18, str(self.starts[pid])]
        raise FileNotFoundError(pid)

    def kill(self, pid: int, number: int) -> None:
        self.sent.append((pid, number))
        for name, states in list(self.containers.items()):
            if pid in states and number == signal.SIGKILL:
                del self.containers[name]
            elif pid in states and number in (signal.SIGSTOP, signal.SIGCONT):
                states[pid] = "T" if number == signal.SIGSTOP else "S"

    def states(self, container: str) -> str:
        return "".join(self.containers[container].values())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    for name in ("init", "main", "processes", "stat"):
        monkeypatch.setattr(nodes, name, getattr(made, name))
    monkeypatch.setattr(os, "kill", made.kill)
    monkeypatch.setattr(process, "_own", made.processes)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    made.start("id-a", 10, 11)
    made.start("id-b", 20, 21, 22)
    return made


def spot(letter: str) -> dict[str, str]:
    return {"name": f"cache-{letter}", "address": "", "id": f"id-{letter}"}


def entry(box: Box, kind: str, args: Mapping[str, Any]) -> Entry:
    """One that has not been looked at, and is in force."""
    made = Entry(
        id=f"{kind}-{len(box.all) + 1}",
        cluster="shop",
        fault=kind,
        kind=kind,
        words=kind,
        nodes=[node["name"] for node in args["nodes"]],
        since_ns=len(box.all),
        until=None,
        boot="",
        args={"beside": [], **args},
    )
    box.all.append(made)
    return made
