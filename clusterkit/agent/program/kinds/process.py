"""L5. Processes that are killed, stopped and gone: signals to nodes, and what became of their services."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import nodes
from ..entry import Entry
from ..kind import Kind, Refused

Life = list[int]
"""[pid, start]: a process, and when it was started, in ticks since the machine was. A pid alone is used again."""

_PASSES = 20
_PASS_SECONDS = 0.001
_SETTLES_SECONDS = 1.0
_STOPPED = "T"
_PROC = "/proc"


class Down(Kind):
    """Nodes that whoever asks ends by the engine; the agent only keeps the ledger. `args`: `nodes`, `beside`.

    `before`: `mains` and `beside`, the lives of the services of the nodes that ran, by node name.
    """

    name = "down"

    def look(self, entry: Entry) -> dict[str, Any]:
        return {
            "mains": running(entry.args["nodes"], entry.fault),
            "beside": alive(entry.args["beside"]),
        }

    def make(self, _entry: Entry) -> None:
        pass

    def undo(self, _entry: Entry) -> None:
        pass


class Kill(Down):
    """A signal to nodes, to all at the same moment. `args` as above, and `signal`, its number.

    It goes to the first process: the engine's init sends it on to the service, and with KILL the whole node ends.
    """

    name = "kill"

    def make(self, entry: Entry) -> None:
        firsts = [nodes.init(node["id"]) for node in entry.args["nodes"] if node["name"] in entry.before["mains"]]
        for pid in firsts:
            if pid is not None:
                _send(pid, int(entry.args["signal"]))


class Pause(Kind):
    """All processes of nodes are stopped, those that come later too. `args`: `nodes`, `beside`.

    `before`: as above, and for each node by name `firsts`, the life of its first process, and `stopped`, the lives of
    those that were stopped already. A node that was restarted has other processes: they run.
    """

    name = "pause"

    def look(self, entry: Entry) -> dict[str, Any]:
        services = running(entry.args["nodes"], entry.fault)
        firsts = {node["name"]: _first(node) for node in entry.args["nodes"] if node["name"] in services}
        return {
            "mains": services,
            "beside": alive(entry.args["beside"]),
            "firsts": firsts,
            "stopped": {
                node["name"]: self._stopped_before(node, firsts[node["name"]])
                for node in entry.args["nodes"]
                if node["name"] in firsts
            },
        }

    def make(self, entry: Entry) -> None:
        for node in self._same(entry):
            _stop(node["id"])

    def keep(self, entry: Entry) -> None:
        self.make(entry)
        again = [node["name"] for node in entry.args["nodes"] if _is_another(node, entry.before["firsts"])]
        if again:
            raise Refused(f"{', '.join(again)}: started again since, and no longer paused")

    def undo(self, entry: Entry) -> None:
        """What another such fault wants stopped too stays so."""
        for node in self._same(entry):
            if self._others(node, entry.before["firsts"][node["name"]], but=entry.id):
                continue
            for pid in _own(node["id"]):
                if _is_stopped(pid) and life_of(pid) not in entry.before["stopped"][node["name"]]:
                    _send(pid, signal.SIGCONT)

    def _stopped_before(self, node: Mapping[str, str], first: Life | None) -> list[Life]:
        for other in self._others(node, first):
            before: list[Life] = other.before["stopped"][node["name"]]
            return before
        return [life for pid in _own(node["id"]) if _is_stopped(pid) and (life := life_of(pid))]

    def _others(self, node: Mapping[str, str], first: Life | None, but: str = "") -> list[Entry]:
        """Those in force that have stopped this life of a node."""
        return [
            entry
            for entry in self.box.entries(self.name)
            if entry.id != but
            and node["id"] in (one["id"] for one in entry.args["nodes"])
            and entry.before.get("firsts", {}).get(node["name"]) == first
        ]

    def _same(self, entry: Entry) -> Iterator[Mapping[str, str]]:
        """The nodes that have not ended since it was made."""
        firsts = entry.before["firsts"]
        return (node for node in entry.args["nodes"] if node["name"] in firsts and _first(node) == firsts[node["name"]])


def life_of(pid: int | None) -> Life | None:
    """None: there is no such process any more."""
    if pid is None:
        return None
    try:
        fields = nodes.stat(pid)
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else [pid, int(fields[19])]


def mains(given: Sequence[Mapping[str, str]]) -> dict[str, Life | None]:
    """node name -> the life of its service, None where it does not run."""
    return {node["name"]: life_of(_main(node["id"])) for node in given}


def alive(given: Sequence[Mapping[str, str]]) -> dict[str, Life]:
    """The same of those that run."""
    return {name: life for name, life in mains(given).items() if life is not None}


def running(given: Sequence[Mapping[str, str]], fault: str) -> dict[str, Life]:
    """The same; raises Refused where none runs."""
    found = alive(given)
    if not found:
        names = ", ".join(node["name"] for node in given)
        raise Refused(f"{names}: no service runs there that {fault} could act on", f"clusterkit start {names}")
    return found


def lives(args: Mapping[str, Any]) -> dict[str, Life | None]:
    """The lives of services by node name, as soon as all have changed as they should, or `wait_s` is over.

    `nodes`; `was`, lives by node name. `until` is "gone", or "another", a life that is not that one. While a node ends,
    what it had started may be taken for its service for a moment: so a life that is another one is not gone.
    """
    end = time.monotonic() + float(args.get("wait_s", 0))
    was, until = args.get("was", {}), args.get("until", "gone")
    while True:
        now = mains(args["nodes"])
        if until == "gone":
            waits = [name for name in was if now.get(name) is not None]
        else:
            waits = [name for name, life in now.items() if life is None or life == was.get(name)]
        if not waits or time.monotonic() >= end:
            return now
        time.sleep(0.01)


def moves(args: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the processes of `nodes` did for `wait_s` seconds, by node name.

    `life` of the service; how many `processes` there are and are `stopped`; `switches`, how often threads gave up a
    core or lost it; `cpu_ticks` they used, hundredths of a second. On a busy machine a process needs a moment until all
    its threads have stopped: what is about to is waited for, `_SETTLES_SECONDS` at most.
    """
    until = time.monotonic() + _SETTLES_SECONDS
    while any(_is_stopping(pid) for node in args["nodes"] for pid in _own(node["id"])) and time.monotonic() < until:
        time.sleep(0.01)
    begun = {node["name"]: _counted(node["id"]) for node in args["nodes"]}
    time.sleep(float(args.get("wait_s", 0.3)))
    found = {}
    for node in args["nodes"]:
        first, then = begun[node["name"]], _counted(node["id"])
        found[node["name"]] = {
            "life": life_of(_main(node["id"])),
            "processes": len(then),
            "stopped": sum(_is_stopped(pid) for pid in then),
            "switches": sum(now[0] - first.get(pid, (0, 0))[0] for pid, now in then.items()),
            "cpu_ticks": sum(now[1] - first.get(pid, (0, 0))[1] for pid, now in then.items()),
        }
    return found


def _counted(container: str) -> dict[int, tuple[int, int]]:
    """pid -> context switches of all its threads, CPU time in ticks. Source: proc(5)."""
    found = {}
    for pid in _own(container):
        switches = 0
        with contextlib.suppress(OSError):  # it ended while we looked
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/status") as file:
                    switches += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
            fields = nodes.stat(pid)
            found[pid] = switches, int(fields[11]) + int(fields[12])
    return found


def _own(container: str) -> list[int]:
    """The node's processes without works of ours, which share its cgroup where there is but one kind of these."""
    ours = os.readlink("/proc/self/ns/pid")
    found = []
    for pid in nodes.processes(container):
        with contextlib.suppress(OSError):  # it ended while we looked
            if os.readlink(f"/proc/{pid}/ns/pid") != ours:
                found.append(pid)
    return found


def _stop(container: str) -> None:
    """Again until none runs: one that ran may have forked another. Which waits for a disk is stopped later."""
    for _ in range(_PASSES):
        left = [pid for pid in _own(container) if not _is_stopped(pid)]
        if not left:
            return
        for pid in left:
            _send(pid, signal.SIGSTOP)
        time.sleep(_PASS_SECONDS)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)


def _is_stopping(pid: int) -> bool:
    """Some of its threads have stopped and others not yet, or none has seen the signal. Source: proc(5)."""
    try:
        states = [
            Path(f"{_PROC}/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]
            for thread in os.listdir(f"{_PROC}/{pid}/task")
        ]
        status = Path(f"{_PROC}/{pid}/status").read_text()
    except OSError:  # it ended while we looked
        return False
    stopped = states.count(_STOPPED)
    pending = int(status.partition("ShdPnd:")[2].split()[0], 16)
    return 0 < stopped < len(states) or (not stopped and bool(pending >> (signal.SIGSTOP - 1) & 1))


def _is_stopped(pid: int) -> bool:
    try:
        return nodes.stat(pid)[0] == _STOPPED
    except OSError:
        return True


def _main(container: str) -> int | None:
    try:
        return nodes.main(container)
    except OSError:  # it ended while we looked
        return None


def _first(node: Mapping[str, str]) -> Life | None:
    return life_of(nodes.init(node["id"]))


def _is_another(node: Mapping[str, str], firsts: Mapping[str, Life]) -> bool:
    now = _first(node)
    return node["name"] in firsts and now is not None and now != firsts[node["name"]]


KINDS = (Down, Kill, Pause)
CALLS = {"lives": lives, "moves": moves}
