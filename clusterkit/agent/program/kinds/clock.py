"""L5. Wall clocks that go wrong on a node: the vDSO of each of its processes is patched, and of each that comes later.

Monotonic time is untouched, and so is every process that is not of the node's container.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import nodes, tracer, vdso
from ..entry import Entry
from ..kind import Kind, Refused
from ..vdso import Skew

_PASSES = 5
_CHANGE_NS = 1_000_000
_ANSWER_SECONDS = 1.0
_TRIES = 10
_GROUP = "pids"
_CLOSE_NS = 20_000
_CANARY = """
import sys
from time import monotonic_ns as mono, time_ns as wall
for _ in sys.stdin:
    print(mono(), wall(), mono(), flush=True)
"""


class Clock(Kind):
    """`args`: `nodes`; `offset_ns`, and `rate` in parts of vdso.ONE, by which their wall clocks are changed.

    `before` has `base_ns`, the wall clock's time at which a drift begins. Faults on one node add up.
    """

    name = "clock"

    def trial(self) -> str:
        canary = _Canary()
        try:
            vdso.change(canary.pid, vdso.jump(3600 * vdso.SECOND))
            offset = canary.read()["offset_ns"]
            vdso.change(canary.pid, None)
        finally:
            canary.end()
        hours = offset / vdso.SECOND / 3600
        return "" if round(hours, 3) == 1 else f"a process's clock was set forward by an hour, and went by {hours:g}"

    def look(self, entry: Entry) -> dict[str, Any]:
        for node in entry.args["nodes"]:
            if nodes.init(node["id"]) is None:
                raise Refused(
                    f"{node['name']} does not run: it has no clock to set", f"clusterkit start {node['name']}"
                )
        for pid, node in _processes(entry.args["nodes"]):
            with contextlib.suppress(OSError), _named(pid, node):  # one that has ended needs no clock
                vdso.look(pid)
        return {"base_ns": time.time_ns()}

    def make(self, entry: Entry) -> None:
        self._set(entry)

    def keep(self, entry: Entry) -> None:
        self._set(entry)

    def undo(self, entry: Entry) -> None:
        """Again until there was nothing to do: a process may have been forked from one that was still skewed."""
        for _ in range(_PASSES):
            if not self._set(entry):
                return

    def sweep(self) -> None:
        wanted = {node["id"] for entry in self.box.entries(self.name) for node in entry.args["nodes"]}
        kept = {pid for pid, _ in _processes({"id": identity} for identity in wanted)}
        for pid in set(nodes.pids()) - kept:
            with contextlib.suppress(OSError, vdso.NoClock):  # the kernel's own processes have none, nor have dead ones
                if vdso.is_skewed(vdso.look(pid)):
                    vdso.change(pid, None)

    def _set(self, entry: Entry) -> int:
        """Makes the clocks of the entry's nodes go as all entries in force say; gives how many processes it changed.

        Raises: Refused for the first process that could not be changed, when the others are.
        """
        skews = {node["id"]: self._skew(node["id"]) for node in entry.args["nodes"]}
        changed = 0
        failed: list[Refused] = []
        for pid, node in _processes(entry.args["nodes"]):
            try:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError), _named(pid, node):
                    changed += vdso.change(pid, skews[node["id"]])
            except Refused as refused:
                failed.append(refused)
        if failed:
            raise failed[0]
        return changed

    def _skew(self, identity: str) -> Skew | None:
        """What all entries in force do to a node's clock."""
        found = [
            vdso.jump(entry.args["offset_ns"]) + vdso.drift(entry.args["rate"], entry.before["base_ns"])
            for entry in self.box.entries(self.name)
            if identity in (node["id"] for node in entry.args["nodes"])
        ]
        return sum(found, Skew()) if found else None


@contextlib.contextmanager
def _named(pid: int, node: Mapping[str, str]) -> Iterator[None]:
    """Says which process of which node it was that has no clock, or could not be held."""
    try:
        yield
    except (vdso.NoClock, tracer.Busy, PermissionError) as error:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:  # it ended: there is no trouble any more
            return
        mend = "" if isinstance(error, vdso.NoClock) else "try again"
        raise Refused(f"{node['name']}: the clock of {name} (process {pid}) cannot be set: {error}", mend) from error


def _processes(wanted: Iterable[Mapping[str, str]]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """All processes of these nodes, each with its node."""
    for node in wanted:
        with contextlib.suppress(OSError):  # it ended while we looked
            yield from [(pid, node) for pid in nodes.processes(node["id"])]


class _Canary:
    """A process that tells its time when asked. It takes the node's clock as any process of the node does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _CANARY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self._process.pid
        self._home: Path | None = None

    def join(self, identity: str) -> None:
        """Makes it one of the node's processes, by a group that limits nothing. Raises: OSError."""
        group = nodes.cgroup(identity, _GROUP)
        if group is None:
            raise ProcessLookupError("the node does not run")
        home = _own_group()
        (group / "cgroup.procs").write_text(str(self.pid))
        self._home = home

    def read(self) -> dict[str, int]:
        """`at_ns`, `wall_ns`: when it was read, by this machine's monotonic and wall clock; `offset_ns`: its wall clock
        less this machine's at that moment; `monotonic_ns`: how far its monotonic clock lies outside of the time in
        which it was asked.

        Reads again where a process was interrupted between two clocks. Raises: TimeoutError.
        """
        for _ in range(_TRIES):
            asked = time.monotonic_ns()
            before, wall, after = self._ask()
            answered, ours, ended = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            if max(after - before, ended - answered) < _CLOSE_NS:
                break
        return {
            "at_ns": answered,
            "wall_ns": ours,
            "offset_ns": wall - (before + after) // 2 - ours + (answered + ended) // 2,
            "monotonic_ns": max(asked - before, after - answered, 0),
        }

    def _ask(self) -> tuple[int, int, int]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"\n")
        if not select.select([self._process.stdout], [], [], _ANSWER_SECONDS)[0]:
            raise TimeoutError("its processes do not run")
        before, wall, after = (int(word) for word in self._process.stdout.readline().split())
        return before, wall, after

    def end(self) -> None:
        """It leaves the node's group first, so that it dies at once where that is frozen."""
        if self._home is not None:
            (self._home / "cgroup.procs").write_text(str(self.pid))
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.kill()
        tracer.reap(self._process.wait)


def clocks(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Reads the clocks of `nodes` twice, `window_s` apart, each by a process that joins the node.

    A fault reaches a new process a moment after it has come: the first reading is taken as soon as the clocks of the
    first `hit` of the nodes are not this machine's, and at the latest after `wait_s`. An `id` of "" is this machine.
    Gives for each: `wall_ns` (when, by this machine's clock), `offset_ns` (how far its wall clock is before this
    machine's), `drift` (by how many seconds a second that grows), `monotonic_ns` (how wrong its monotonic clock is),
    `trouble` ("" unless it could not be tried).
    """
    found: list[dict[str, Any]] = [
        {"wall_ns": 0, "offset_ns": 0, "drift": 0.0, "monotonic_ns": 0, "trouble": ""} for _ in args["nodes"]
    ]
    with contextlib.ExitStack() as stack:
        canaries: dict[int, _Canary] = {}
        for index, node in enumerate(args["nodes"]):
            canary = canaries[index] = _Canary()
            stack.callback(canary.end)
            try:
                if node["id"]:
                    canary.join(node["id"])
            except OSError as error:
                found[index]["trouble"] = f"it cannot be tried: {error.strerror or error}"
        until = time.monotonic() + float(args["wait_s"])
        while True:
            first = _readings(canaries, found)
            true = [one for index, one in first.items() if index < args["hit"] and abs(one["offset_ns"]) < _CHANGE_NS]
            if not true or time.monotonic() > until:
                break
            time.sleep(0.02)
        time.sleep(float(args["window_s"]))
        for index, second in _readings(canaries, found).items():
            passed = second["at_ns"] - first[index]["at_ns"]
            found[index] |= {key: second[key] for key in ("wall_ns", "offset_ns", "monotonic_ns")}
            found[index]["drift"] = (second["offset_ns"] - first[index]["offset_ns"]) / passed
    return found


def _readings(canaries: Mapping[int, _Canary], found: list[dict[str, Any]]) -> dict[int, dict[str, int]]:
    """By the number of the node. Those that do not answer are in trouble."""
    read = {}
    for index, canary in canaries.items():
        if not found[index]["trouble"]:
            try:
                read[index] = canary.read()
            except OSError as error:
                found[index]["trouble"] = f"it cannot be tried: {error}"
    return read


def _own_group() -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if nodes.is_unified() and names == "":
            return nodes.CGROUPS / path.lstrip("/")
        if _GROUP in names.split(","):
            return nodes.CGROUPS / _GROUP / path.lstrip("/")
    raise FileNotFoundError(os.strerror(2))


KINDS = (Clock,)
CALLS = {"clocks": clocks}
