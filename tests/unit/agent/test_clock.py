"""The agent's clock faults: what each process of a node is told, and when."""

from __future__ import annotations

from typing import Any

import pytest

from clusterkit.agent.program import nodes, vdso
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Refused
from clusterkit.agent.program.kinds.clock import Clock
from clusterkit.agent.program.vdso import Skew

NODE = {"name": "cache-1", "address": "10.64.0.11", "id": "one"}


class Box:
    def __init__(self) -> None:
        self.all: list[Entry] = []

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        return [entry for entry in self.all if entry.kind == kind and cluster in ("", entry.cluster)]


class Machine:
    """`running`: container -> its processes; `skews`: process -> what its clock was made to be."""

    def __init__(self) -> None:
        self.running: dict[str, list[int]] = {"one": [11, 12], "two": [21]}
        self.skews: dict[int, Skew] = {}
        self.exotic: set[int] = set()

    def change(self, pid: int, skew: Skew | None) -> bool:
        self.look(pid)
        changed = self.skews.get(pid) != skew
        if skew is None:
            self.skews.pop(pid, None)
        else:
            self.skews[pid] = skew
        return changed

    def look(self, pid: int) -> bytes:
        if pid in self.exotic:
            raise vdso.NoClock("it has no vDSO")
        return b"CKVDSO\0\0" if pid in self.skews else bytes(8)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(nodes, "processes", lambda container: list(made.running.get(container, [])))
    monkeypatch.setattr(nodes, "init", lambda container: next(iter(made.running.get(container, [])), None))
    monkeypatch.setattr(nodes, "pids", lambda: [pid for pids in made.running.values() for pid in pids])
    monkeypatch.setattr(vdso, "change", made.change)
    monkeypatch.setattr(vdso, "look", made.look)
    return made


@pytest.fixture
def box() -> Box:
    return Box()


def _entry(box: Box, offset_ns: int = 0, rate: int = 0, node: dict[str, str] = NODE, **before: Any) -> Entry:
    entry = Entry(
        id=f"clock-{len(box.all) + 1}",
        cluster="shop",
        fault="clock-jump",
        kind="clock",
        words="",
        nodes=[node["name"]],
        since_ns=len(box.all),
        until=None,
        boot="",
        args={"nodes": [node], "offset_ns": offset_ns, "rate": rate},
        before={"base_ns": 0, **before},
    )
    box.all.append(entry)
    return entry


def test_all_processes_of_the_node_and_no_others(machine: Machine, box: Box) -> None:
    Clock(box).make(_entry(box, offset_ns=5))
    assert machine.skews == {11: Skew(0, 5), 12: Skew(0, 5)}


def test_a_process_that_comes_later_is_told_too(machine: Machine, box: Box) -> None:
    kind, entry = Clock(box), _entry(box, offset_ns=5)
    kind.make(entry)
    machine.running["one"] = [13]
    kind.keep(entry)
    assert machine.skews[13] == Skew(0, 5)


def test_faults_add_up_and_each_ends_alone(machine: Machine, box: Box) -> None:
    kind = Clock(box)
    first, second = _entry(box, offset_ns=5), _entry(box, rate=vdso.ONE, base_ns=100)
    kind.make(first)
    kind.make(second)
    assert machine.skews[11] == Skew(vdso.ONE, 5 - 100)
    box.all.remove(first)
    kind.undo(first)
    assert machine.skews[11] == Skew(vdso.ONE, -100)
    box.all.remove(second)
    kind.undo(second)
    kind.undo(second)
    assert machine.skews == {}


def test_one_forked_meanwhile_is_put_right_as_well(machine: Machine, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, entry = Clock(box), _entry(box, offset_ns=5)
    kind.make(entry)
    box.all.remove(entry)

    def change(pid: int, skew: Skew | None) -> bool:
        if pid == 12 and 14 not in machine.running["one"]:
            machine.running["one"].append(14)
            machine.skews[14] = Skew(0, 5)
        return machine.change(pid, skew)

    monkeypatch.setattr(vdso, "change", change)
    kind.undo(entry)
    assert machine.skews == {}


def test_what_has_no_clock_is_refused_by_name_before_anything_is_touched(machine: Machine, box: Box) -> None:
    machine.exotic.add(12)
    with pytest.raises(Refused, match=r"cache-1: the clock of .* cannot be set: it has no vDSO") as refused:
        Clock(box).look(_with_a_real_name(machine, box))
    assert refused.value.mend == ""
    assert machine.skews == {}


def _with_a_real_name(machine: Machine, box: Box) -> Entry:
    """A process that has no clock but runs: this one's number stands in for it."""
    import os

    machine.running["one"] = [11, os.getpid()]
    machine.exotic = {os.getpid()}
    return _entry(box, offset_ns=5)


def test_the_others_are_set_where_one_cannot_be(machine: Machine, box: Box) -> None:
    entry = _with_a_real_name(machine, box)
    machine.running["one"].append(15)
    with pytest.raises(Refused, match="has no vDSO"):
        Clock(box).keep(entry)
    assert set(machine.skews) == {11, 15}


def test_a_node_that_does_not_run_is_refused_and_later_left_alone(machine: Machine, box: Box) -> None:
    kind, entry = Clock(box), _entry(box, offset_ns=5)
    machine.running["one"] = []
    with pytest.raises(Refused, match="cache-1 does not run"):
        kind.look(entry)
    kind.keep(entry)
    kind.undo(entry)
    assert machine.skews == {}


def test_strays_are_put_right_at_the_start(machine: Machine, box: Box) -> None:
    _entry(box, offset_ns=5)
    machine.skews = {11: Skew(0, 5), 21: Skew(0, 9)}
    Clock(box).sweep()
    assert machine.skews == {11: Skew(0, 5)}
