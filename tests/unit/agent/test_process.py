"""Signals to nodes: who gets which, what is noted before, and what is put back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from clusterkit.agent.program import nodes
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Kind, Refused
from clusterkit.agent.program.kinds import process
from clusterkit.agent.program.kinds.process import Down, Kill, Pause, _is_stopping, lives, moves
from tests.unit.agent.machine import Box, Machine, entry, machine, spot

__all__ = ["machine"]

BOTH = [spot("a"), spot("b")]


def _made(kind: Kind, box: Box, *nodes: dict[str, str], **args: object) -> Entry:
    made = entry(box, kind.name, {"nodes": list(nodes), **args})
    box.all.remove(made)
    made.before = kind.look(made)
    box.all.append(made)
    kind.make(made)
    return made


def _ended(kind: Kind, box: Box, made: Entry) -> None:
    if made in box.all:
        box.all.remove(made)
    kind.undo(made)


def test_a_kill_goes_to_the_first_process_of_each(machine: Machine) -> None:
    box = Box()
    made = _made(Kill(box), box, *BOTH, signal=int(signal.SIGTERM))
    assert machine.sent == [(10, signal.SIGTERM), (20, signal.SIGTERM)]
    assert made.before["mains"] == {"cache-a": [11, 1], "cache-b": [21, 1]}


def test_a_node_that_does_not_run_is_not_killed_and_not_brought_back(machine: Machine) -> None:
    box = Box()
    made = _made(Kill(box), box, spot("a"), spot("c"), signal=9)
    assert machine.sent == [(10, 9)]
    assert list(made.before["mains"]) == ["cache-a"]


def test_where_nothing_runs_there_is_nothing_to_do(machine: Machine) -> None:
    box = Box()
    for kind in (Down(box), Kill(box), Pause(box)):
        with pytest.raises(Refused, match="cache-c: no service runs there") as refused:
            kind.look(entry(box, kind.name, {"nodes": [spot("c")]}))
        assert refused.value.mend == "clusterkit start cache-c"


def test_who_only_notes_touches_nothing(machine: Machine) -> None:
    box = Box()
    made = _made(Down(box), box, spot("a"), beside=[spot("b"), spot("c")])
    _ended(Down(box), box, made)
    assert machine.sent == []
    assert made.before["beside"] == {"cache-b": [21, 1]}


def test_a_pause_stops_all_and_starts_all(machine: Machine) -> None:
    box = Box()
    kind = Pause(box)
    made = _made(kind, box, spot("b"))
    assert (machine.states("id-b"), machine.states("id-a")) == ("TTT", "SS")
    _ended(kind, box, made)
    _ended(kind, box, made)
    assert machine.states("id-b") == "SSS"


def test_what_was_stopped_before_stays_so(machine: Machine) -> None:
    machine.containers["id-b"][22] = "T"
    box = Box()
    kind = Pause(box)
    _ended(kind, box, _made(kind, box, spot("b")))
    assert machine.states("id-b") == "SST"


def test_a_process_that_comes_later_is_stopped_too(machine: Machine) -> None:
    box = Box()
    kind = Pause(box)
    made = _made(kind, box, spot("b"))
    machine.containers["id-b"][23] = "R"
    machine.starts[23] = 1
    kind.keep(made)
    assert machine.states("id-b") == "TTTT"
    _ended(kind, box, made)
    assert machine.states("id-b") == "SSSS"


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_pauses_the_last_one_starts_it_again(machine: Machine, first: int) -> None:
    box = Box()
    kind = Pause(box)
    both = [_made(kind, box, spot("b")), _made(kind, box, spot("b"), spot("a"))]
    _ended(kind, box, both[first])
    assert machine.states("id-b") == "TTT"
    _ended(kind, box, both[1 - first])
    assert (machine.states("id-b"), machine.states("id-a")) == ("SSS", "SS")


def test_a_node_that_was_started_again_runs_and_it_is_said(machine: Machine) -> None:
    box = Box()
    kind = Pause(box)
    made = _made(kind, box, *BOTH)
    machine.start("id-b", 20, 21)  # the same pids, other processes
    machine.containers["id-a"][12] = "R"
    machine.starts[12] = 1
    with pytest.raises(Refused, match="cache-b: started again since, and no longer paused"):
        kind.keep(made)
    assert (machine.states("id-b"), machine.states("id-a")) == ("SS", "TTT")
    machine.containers["id-b"][21] = "T"  # by somebody else
    _ended(kind, box, made)
    assert (machine.states("id-b"), machine.states("id-a")) == ("ST", "SSS")


def test_a_node_that_died_has_nothing_to_be_started(machine: Machine) -> None:
    box = Box()
    kind = Pause(box)
    made = _made(kind, box, spot("a"))
    machine.kill(10, signal.SIGKILL)
    kind.keep(made)
    machine.sent.clear()
    _ended(kind, box, made)
    assert machine.sent == []


def test_works_of_ours_in_a_nodes_cgroup_are_not_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = 2**22 + 1  # more than there can be
    monkeypatch.setattr(nodes, "processes", lambda _: [os.getpid(), ended])
    assert process._own("id-a") == []


def test_lives_are_told_when_all_have_changed(machine: Machine) -> None:
    was = {"cache-a": [11, 1]}
    assert lives({"nodes": BOTH, "was": was}) == {"cache-a": [11, 1], "cache-b": [21, 1]}
    machine.kill(10, signal.SIGKILL)
    assert lives({"nodes": BOTH, "was": was, "wait_s": 60})["cache-a"] is None
    assert lives({"nodes": BOTH, "was": {"cache-b": [99, 9]}, "wait_s": 0.02})["cache-b"] == [21, 1], (
        "another is not gone"
    )
    machine.start("id-a", 10, 11)
    assert lives({"nodes": BOTH, "was": was, "wait_s": 60, "until": "another"})["cache-a"] == [11, 2]


def test_moves_tell_how_many_are_stopped(machine: Machine) -> None:
    machine.containers["id-b"] = {20: "T", 21: "S"}
    found = moves({"nodes": [spot("c")]})
    assert found == {"cache-c": {"life": None, "processes": 0, "stopped": 0, "switches": 0, "cpu_ticks": 0}}


@pytest.mark.parametrize(
    ("states", "pending", "is_stopping"),
    [
        (["S", "S"], 0, False),
        (["T", "T"], 0, False),
        (["T", "S"], 0, True),
        (["S", "R"], 1 << (signal.SIGSTOP - 1), True),
        (["S", "R"], 1 << (signal.SIGTERM - 1), False),
        (["T", "T"], 1 << (signal.SIGSTOP - 1), False),
    ],
)
def test_a_process_is_stopping_until_all_its_threads_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str], pending: int, is_stopping: bool
) -> None:
    for thread, state in enumerate(states):
        (tmp_path / "7" / "task" / str(thread)).mkdir(parents=True)
        (tmp_path / "7" / "task" / str(thread) / "stat").write_text(f"7 (a) b) {state} 1 1")
    (tmp_path / "7" / "status").write_text(
        f"Name:\ta\nSigPnd:\t0000000000000000\nShdPnd:\t{pending:016x}\nSigBlk:\t0\n"
    )
    monkeypatch.setattr("clusterkit.agent.program.kinds.process._PROC", str(tmp_path))
    assert _is_stopping(7) is is_stopping
    assert not _is_stopping(8)
