"""Clients at work on systems in memory: what is written down, and what it is called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from clusterkit.client import ClientError, NotSent, Refused, Unmet
from clusterkit.components.base import Component, Group, Member, Options, Port, Purpose, Running
from clusterkit.history.codec import Recorder, read_history
from clusterkit.history.op import PEEK, Op, OpType
from clusterkit.testing import FakeNode
from clusterkit.units import Rate
from clusterkit.workloads.base import Invocation, WorkloadSpec
from clusterkit.workloads.interpreter import Bench, Clients, Peeked, Session, peek_everywhere, read_everything
from clusterkit.workloads.kinds import KINDS


@dataclass
class System:
    """A register in memory. `trouble` is asked before each call, and raised; `connect` before each connection."""

    values: dict[str, Any] = field(default_factory=dict)
    trouble: Callable[[str, str], Exception | None] = lambda _f, _node: None
    connect: Callable[[str], Exception | None] = lambda _node: None
    made: list[tuple[str, Purpose]] = field(default_factory=list)
    closed: int = 0


SYSTEM = System()


class Driver:
    def __init__(self, _running: Running, member: Member, purpose: Purpose) -> None:
        error = SYSTEM.connect(member.name)
        if error is not None:
            raise error
        self._node = member.name
        SYSTEM.made.append((member.name, purpose))

    def call(self, f: str, key: str, value: Any) -> Any:
        error = SYSTEM.trouble(f, self._node)
        if error is not None:
            raise error
        if f == "read":
            return SYSTEM.values.get(key)
        if f == "dequeue":
            return SYSTEM.values[key].pop(0) if SYSTEM.values.get(key) else None
        SYSTEM.values[key] = value[1] if f == "cas" else value
        return None

    def close(self) -> None:
        SYSTEM.closed += 1


COMPONENT = Component(
    kind="kv",
    version="1",
    summary="in memory",
    ports={"client": Port(1)},
    command=("kv",),
    drivers=dict.fromkeys(KINDS, f"{__name__}:Driver"),
)


@pytest.fixture(autouse=True)
def system() -> System:
    SYSTEM.__dict__.update(System().__dict__)
    return SYSTEM


@pytest.fixture
def bench_of(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Makes benches whose histories lie in tmp_path, and closes them."""
    made: list[Bench] = []

    def make(kind: str = "register", **more: Any) -> Bench:
        made.append(_bench(tmp_path, kind, **more))
        return made[-1]

    yield make
    for bench in made:
        bench.recorder.close()


def _bench(tmp_path: Path, kind: str, **more: Any) -> Bench:
    members = tuple(Member(f"kv-{n}", n, "a", f"192.0.2.{n}", {"client": 1}) for n in (1, 2, 3))
    group = Group("c", "kv", "kv", Options(), members)
    running = Running(group, COMPONENT, {one.name: FakeNode(one.name) for one in members})
    made = KINDS[kind]
    spec = replace(WorkloadSpec(kind, "kv", 1, dict(made.mix)), **more)
    ticks = iter(range(10**9))
    return Bench(made(spec), running, Recorder(tmp_path / "history.jsonl"), lambda: next(ticks), "t1", "/x")


def _ops(bench: Bench) -> list[tuple[Any, str, str, str, str]]:
    return [(op.process, op.type.value, op.f, op.node, op.error) for op in bench.recorder.history]


WRITE = Invocation("write", None, 5)


def test_a_call_that_is_answered_is_ok(bench_of: Callable[..., Bench], system: System) -> None:
    bench = bench_of()
    session = Session(bench, 0)
    assert session.call(WRITE) == (OpType.OK, None)
    assert session.call(Invocation("read", None)) == (OpType.OK, 5)
    assert _ops(bench) == [
        (0, "invoke", "write", "", ""),
        (0, "ok", "write", "kv-1", ""),
        (0, "invoke", "read", "kv-1", ""),
        (0, "ok", "read", "kv-1", ""),
    ]
    assert system.values == {"t1-all": 5}
    assert system.made[0][1] == Purpose("register", None, 0, "/x")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotSent("no route"), "fail"),
        (Refused("READONLY"), "fail"),
        (ConnectionRefusedError(111, "Connection refused"), "fail"),
        (TimeoutError("timed out"), "info"),
        (ConnectionResetError(104, "reset"), "info"),
        (ClientError("etcdserver: request timed out"), "info"),
        (ValueError("a bug"), "info"),
    ],
)
def test_a_write_that_raises(bench_of: Callable[..., Bench], system: System, error: Exception, outcome: str) -> None:
    system.trouble = lambda f, _node: error if f == "write" else None
    bench = bench_of()
    session = Session(bench, 0)
    assert session.call(WRITE)[0].value == outcome
    assert str(error).split()[-1] in bench.recorder.history[1].error
    session.call(Invocation("read", None))
    # After an info the process number is a new one; and after any trouble, so is the connection, and the node.
    assert bench.recorder.history[2].process == (1 if outcome == "info" else 0)
    assert [node for node, _ in system.made] == ["kv-1", "kv-2"]
    assert system.closed == 1
    assert bool(bench.tally.bugs) == isinstance(error, ValueError)


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError(104, "reset"), ClientError("eh")])
def test_a_read_that_raises_surely_did_nothing(
    bench_of: Callable[..., Bench], system: System, error: Exception
) -> None:
    system.trouble = lambda _f, _node: error
    bench = bench_of()
    session = Session(bench, 0)
    assert session.call(Invocation("read", None))[0] is OpType.FAIL
    session.call(Invocation("read", None))
    assert {op.process for op in bench.recorder.history} == {0}


def test_a_dequeue_is_no_read(bench_of: Callable[..., Bench], system: System) -> None:
    system.trouble = lambda _f, _node: TimeoutError("timed out")
    bench = bench_of("queue")
    assert Session(bench, 0).call(Invocation("dequeue", None))[0] is OpType.INFO


def test_a_condition_that_did_not_hold_is_no_trouble(bench_of: Callable[..., Bench], system: System) -> None:
    system.trouble = lambda f, _node: Unmet("another value") if f == "cas" else None
    bench = bench_of()
    session = Session(bench, 0)
    assert session.call(Invocation("cas", None, [1, 2]))[0] is OpType.FAIL
    assert bench.recorder.history[1].error == ""
    session.call(WRITE)
    assert [node for node, _ in system.made] == ["kv-1"]


def test_who_cannot_connect_has_not_sent_anything(bench_of: Callable[..., Bench], system: System) -> None:
    system.connect = lambda node: OSError("no route to host") if node == "kv-1" else None
    bench = bench_of()
    session = Session(bench, 0)
    assert session.call(WRITE)[0] is OpType.FAIL
    assert session.call(WRITE)[0] is OpType.OK
    assert bench.recorder.history[3].node == "kv-2"


def test_a_pinned_client_stays_and_others_move(bench_of: Callable[..., Bench], system: System) -> None:
    system.trouble = lambda _f, node: TimeoutError("timed out") if node == "kv-1" else None
    bench = bench_of()
    pinned, other = Session(bench, 0, pinned=True), Session(bench, 0)
    for _ in range(3):
        pinned.call(WRITE)
        other.call(WRITE)
    nodes = [op.node for op in bench.recorder.history if op.type is not OpType.INVOKE]
    assert nodes[0::2] == ["kv-1", "kv-1", "kv-1"]
    assert nodes[1::2] == ["kv-1", "kv-2", "kv-2"]


def test_clients_keep_the_rate_and_can_be_read_as_they_go(bench_of: Callable[..., Bench], tmp_path: Path) -> None:
    bench = bench_of(clients=4, rate=Rate(400))
    stop = threading.Event()
    clients = Clients(bench, 1, stop)
    clients.start()
    while bench.tally.ok + bench.tally.fail < 40:
        stop.wait(0.01)
    stop.set()
    clients.join()
    stored = read_history(tmp_path / "history.jsonl")
    assert list(stored.history) == list(bench.recorder.history)
    assert {op.process for op in stored.history} == {0, 1, 2, 3}
    values = [op.value for op in stored.history if op.type is OpType.INVOKE and op.f == "write"]
    assert len(values) == len(set(values))


def test_every_node_is_asked_by_itself(bench_of: Callable[..., Bench], system: System) -> None:
    system.values["t1-all"] = 7
    system.trouble = lambda _f, node: TimeoutError("timed out") if node == "kv-3" else None
    bench = bench_of()
    peeked = peek_everywhere(bench)
    assert (peeked.members, peeked.answers) == (3, {None: {"kv-1": 7, "kv-2": 7}})
    assert not peeked.is_agreed
    assert all(purpose.is_local for _, purpose in system.made)
    peeks: list[Op] = [op for op in bench.recorder.history if op.type is OpType.INVOKE]
    assert sorted((op.f, op.node) for op in peeks) == [(PEEK, "kv-1"), (PEEK, "kv-2"), (PEEK, "kv-3")]
    assert bench.tally.ok == 0


def test_members_agree_when_all_answer_alike(bench_of: Callable[..., Bench], system: System) -> None:
    system.values["t1-all"] = 7
    assert peek_everywhere(bench_of()).is_agreed
    assert Peeked(2, {None: {"a": [2, 1], "b": [1, 2]}}).is_agreed
    assert not Peeked(2, {None: {"a": [2, 1], "b": [1]}}).is_agreed
    assert not Peeked(2, {None: {"a": 1}}).is_agreed


def test_a_queue_is_emptied_in_the_end_though_it_stutters(bench_of: Callable[..., Bench], system: System) -> None:
    system.values["t1-all"] = [1, 2, 3]
    stutter = iter([None, TimeoutError("timed out")])
    system.trouble = lambda _f, _node: next(stutter, None)
    bench = bench_of("queue")
    read_everything(bench)
    results: list[Any] = [op.value for op in bench.recorder.history if op.type is OpType.OK]
    assert results == [1, 2, 3, None]


def test_the_last_read_gives_up_in_the_end(bench_of: Callable[..., Bench], system: System) -> None:
    system.trouble = lambda _f, _node: TimeoutError("timed out")
    bench = bench_of()
    read_everything(bench, tries=2)
    outcomes: Mapping[str, int] = {"fail": bench.tally.fail, "ok": bench.tally.ok}
    assert outcomes == {"fail": 2, "ok": 0}
