"""Links in force: what the process is told, which rules are made, and when; without a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from clusterkit.agent.program import mangle, netem, nodes
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Refused
from clusterkit.agent.program.kinds import link
from clusterkit.agent.program.kinds.link import Link

A, B = "10.64.0.11", "10.64.0.12"


class Box:
    def __init__(self) -> None:
        self.all: list[Entry] = []

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        return [entry for entry in self.all if entry.kind == kind and cluster in ("", entry.cluster)]


class FakeWorker:
    def __init__(self, done: list[str]) -> None:
        self.done = done
        self.is_alive = False
        self.queue = 7700

    def use(self, links: Sequence[Mapping[str, Any]]) -> None:
        self.is_alive = True
        self.done.append("told " + ", ".join(f"{one['id']} {one['port']}".strip() for one in links))

    def stop(self) -> None:
        self.is_alive = False
        self.done.append("stopped")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order."""
    found: list[str] = []

    def apply(matches: Iterable[mangle.Match], queue: int) -> None:
        found.append(f"rules {len(list(matches))}")

    monkeypatch.setattr(link, "Worker", lambda: FakeWorker(found))
    monkeypatch.setattr(mangle, "apply", apply)
    monkeypatch.setattr(link, "backend", lambda: "nfqueue")
    monkeypatch.setattr(link, "_queue_trial", lambda: "")
    return found


@pytest.fixture
def tc(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> list[list[str]]:
    """What tc was told, on a machine with netem where the node's first process is 41."""
    told: list[list[str]] = []
    monkeypatch.setattr(link, "backend", lambda: "netem")
    monkeypatch.setattr(link, "_tc", lambda lines, **_how: told.append([" ".join(line) for line in lines]))
    monkeypatch.setattr(nodes, "init", lambda _identity: 41)
    monkeypatch.setattr(nodes, "in_network", lambda _pid, do: do())
    return told


def _entry(box: Box, *ports: str, **impair: Any) -> Entry:
    entry = Entry(
        id=f"latency-{len(box.all) + 1}",
        cluster="shop",
        fault="latency",
        kind="link",
        words="slow",
        nodes=[],
        since_ns=len(box.all),
        until=None,
        boot="",
        args={"ways": [[A, B]], "names": [["a-1", "b-1"]], "ids": ["id-a"], "ports": list(ports), "impair": impair},
    )
    box.all.append(entry)
    return entry


def test_the_process_is_there_before_the_rules_and_after_them(done: list[str]) -> None:
    box = Box()
    kind, entry = Link(box), _entry(box, delay_ms=5)
    kind.make(entry)
    box.all.remove(entry)
    kind.undo(entry)
    assert done == ["told latency-1", "rules 1", "rules 0", "stopped"]


def test_what_is_in_force_is_left_alone(done: list[str]) -> None:
    box = Box()
    kind, entry = Link(box), _entry(box, delay_ms=5)
    kind.make(entry)
    kind.keep(entry)
    assert done == ["told latency-1", "rules 1"]


def test_a_process_that_died_is_started_again(done: list[str]) -> None:
    box = Box()
    kind, entry = Link(box), _entry(box, delay_ms=5)
    kind.make(entry)
    kind._worker.is_alive = False  # type: ignore[misc]  # a fake one's
    kind.keep(entry)
    assert done == ["told latency-1", "rules 1"] * 2


def test_one_ends_and_the_other_stays(done: list[str]) -> None:
    box = Box()
    kind = Link(box)
    first, second = _entry(box, delay_ms=5), _entry(box, "6379/tcp", "53/udp", loss=0.5)
    kind.make(first)
    box.all.remove(first)
    kind.undo(first)
    kind.undo(first)
    kind.keep(second)
    told = "told latency-2 6379/tcp, latency-2 53/udp"
    assert done[-4:] == [told, "rules 2", told, "rules 2"]


def test_a_chain_that_nobody_accounts_for_is_swept(done: list[str]) -> None:
    Link(Box()).sweep()
    assert done == ["rules 0", "stopped"]


def test_nobody_on_the_other_side_is_refused(done: list[str]) -> None:
    box = Box()
    entry = _entry(box, delay_ms=5)
    entry.args["ways"] = []
    with pytest.raises(Refused, match="nobody is on the other side"):
        Link(box).make(entry)
    assert done == []


def test_nonsense_is_refused_with_nothing_done(done: list[str]) -> None:
    box = Box()
    with pytest.raises(Refused, match="no share"):
        Link(box).look(_entry(box, loss=2))
    assert done == []


def test_a_machine_that_can_do_neither_says_why(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    monkeypatch.setattr(link, "backend", lambda: "")
    monkeypatch.setattr(link, "_netem_trial", lambda: "tc: unknown")
    monkeypatch.setattr(link, "_queue_trial", lambda: "bridge-nf-call-iptables is 0")
    box = Box()
    assert Link(box).trial() == "no netem: tc: unknown; no packet queue: bridge-nf-call-iptables is 0"
    with pytest.raises(Refused, match="links cannot be impaired on this machine"):
        Link(box).look(_entry(box, delay_ms=5))


def test_connections_are_reset_by_the_queue_alone(
    monkeypatch: pytest.MonkeyPatch, tc: list[list[str]], done: list[str]
) -> None:
    box = Box()
    kind, entry = Link(box), _entry(box, reset=True)
    kind.make(entry)
    assert (tc, done) == ([], ["told latency-1", "rules 1"])
    monkeypatch.setattr(link, "_queue_trial", lambda: "no queue")
    with pytest.raises(Refused, match="connections cannot be reset on this machine: no queue"):
        kind.look(entry)


def test_netem_is_put_where_packets_are_sent_and_taken_away(tc: list[list[str]], done: list[str]) -> None:
    box = Box()
    kind, entry = Link(box), _entry(box, delay_ms=5)
    kind.make(entry)
    kind.keep(entry)
    removal = [" ".join(netem.REMOVAL)]
    assert [removal, [line.split(" dev ")[0] for line in tc[1]]] == [
        tc[0],
        ["qdisc add", "class add", "qdisc add", "filter add"],
    ]
    assert len(tc) == 2
    box.all.remove(entry)
    kind.undo(entry)
    assert tc[2:] == [removal]


def test_netem_comes_back_with_a_node_that_was_started_again(
    monkeypatch: pytest.MonkeyPatch, tc: list[list[str]]
) -> None:
    box = Box()
    kind, entry = Link(box), _entry(box, delay_ms=5)
    kind.make(entry)
    monkeypatch.setattr(nodes, "init", lambda _identity: None)
    kind.keep(entry)
    assert len(tc) == 2
    monkeypatch.setattr(nodes, "init", lambda _identity: 42)
    kind.keep(entry)
    assert tc[2:] == tc[:2]
