"""The agent's name faults: what stands in a node's network, and which rules its server has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clusterkit.agent.program import nft, nodes
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Refused
from clusterkit.agent.program.kinds import dns
from clusterkit.agent.program.kinds.dns import Dns

NODE = {"name": "cache-1", "address": "10.64.0.11", "id": "one"}


class Box:
    def __init__(self) -> None:
        self.all: list[Entry] = []

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        return [entry for entry in self.all if entry.kind == kind and cluster in ("", entry.cluster)]


class Server:
    made: list[Server] = []  # noqa: RUF012 - one list for a test

    def __init__(self) -> None:
        self.udp_port, self.tcp_port = 4000 + len(Server.made), 5000 + len(Server.made)
        self.rules: tuple[Any, ...] = ()
        self.resolvers: tuple[str, ...] = ()
        self.is_closed = False
        Server.made.append(self)

    def close(self) -> None:
        self.is_closed = True


class Machine:
    """`pids`: container -> its first process; each has a network of its own, with the process's number."""

    def __init__(self) -> None:
        self.pids = {"one": 11, "two": 21}
        self.resolvers = ["127.0.0.11"]
        self.ran: list[tuple[int, str]] = []

    def run_in(self, pid: int, commands: str) -> str:
        self.ran.append((pid, commands))
        return "table ip nat\ntable ip clusterkit_dns\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    Server.made = []

    def in_network(_pid: int, do: Callable[[], Any]) -> Any:
        return do()

    monkeypatch.setattr(nodes, "init", made.pids.get)
    monkeypatch.setattr(nodes, "pids", lambda: list(made.pids.values()))
    monkeypatch.setattr(nodes, "in_network", in_network)
    monkeypatch.setattr(nft, "run_in", made.run_in)
    monkeypatch.setattr(dns, "NameServer", Server)
    monkeypatch.setattr(dns, "_network", lambda pid: pid)
    monkeypatch.setattr(dns, "_resolvers", lambda _pid: made.resolvers)
    return made


@pytest.fixture
def box() -> Box:
    return Box()


def _entry(box: Box, how: str = "silent") -> Entry:
    entry = Entry(
        id=f"dns-{len(box.all) + 1}",
        cluster="shop",
        fault="dns-silent",
        kind="dns",
        words="",
        nodes=["cache-1"],
        since_ns=len(box.all),
        until=None,
        boot="",
        args={"nodes": [NODE], "names": [], "how": how, "delay_s": 0.0, "address": ""},
    )
    box.all.append(entry)
    return entry


def test_the_resolver_is_redirected_and_the_server_itself_is_not(machine: Machine, box: Box) -> None:
    Dns(box).make(_entry(box))
    table, elements = (commands for _, commands in machine.ran)
    mark, udp, tcp = (line for line in table.splitlines() if line.startswith("add rule"))
    assert mark.endswith("meta mark 25451 return")
    assert udp.endswith("ip daddr @resolvers udp dport 53 redirect to :4000")
    assert tcp.endswith("ip daddr @resolvers tcp dport 53 redirect to :5000")
    assert elements.startswith("add element ip clusterkit_dns resolvers { 127.0.0.11 timeout 3s }")
    assert {pid for pid, _ in machine.ran} == {11}


def test_the_newest_comes_first_and_each_ends_alone(machine: Machine, box: Box) -> None:
    kind = Dns(box)
    first, second = _entry(box, "silent"), _entry(box, "servfail")
    kind.make(first)
    kind.make(second)
    (server,) = Server.made
    assert [rule.how for rule in server.rules] == ["servfail", "silent"]
    box.all.remove(second)
    kind.undo(second)
    assert [rule.how for rule in server.rules] == ["silent"]
    assert not server.is_closed
    box.all.remove(first)
    kind.undo(first)
    kind.undo(first)
    assert server.is_closed
    assert machine.ran[-1][1].endswith("delete table ip clusterkit_dns")


def test_a_node_that_was_started_again_gets_a_server_in_its_new_network(machine: Machine, box: Box) -> None:
    kind, entry = Dns(box), _entry(box)
    kind.make(entry)
    del machine.pids["one"]
    kind.keep(entry)
    machine.pids["one"] = 99
    kind.keep(entry)
    kind.keep(entry)
    old, new = Server.made
    assert old.is_closed
    assert not new.is_closed
    assert machine.ran[-1][0] == 99


def test_resolvers_are_read_anew(machine: Machine, box: Box) -> None:
    """A node that is being started has the engine's own file for a moment."""
    kind, entry = Dns(box), _entry(box)
    machine.resolvers = []
    kind.make(entry)
    machine.resolvers = ["127.0.0.11", "9.9.9.9"]
    kind.keep(entry)
    assert Server.made[0].resolvers == ("127.0.0.11", "9.9.9.9")
    assert "9.9.9.9 timeout 3s" in machine.ran[-1][1]


def test_no_server_is_left_where_no_rule_could_be_made(
    machine: Machine, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _commands: str) -> str:
        raise Refused("nft: no")

    monkeypatch.setattr(nft, "run_in", refuse)
    with pytest.raises(Refused, match="nft: no"):
        Dns(box).make(_entry(box))
    assert Server.made[0].is_closed


def test_who_asks_nobody_is_refused(machine: Machine, box: Box) -> None:
    entry = _entry(box)
    machine.resolvers = []
    with pytest.raises(Refused, match="names no IPv4 resolver"):
        Dns(box).look(entry)
    del machine.pids["one"]
    with pytest.raises(Refused, match="cache-1 does not run"):
        Dns(box).look(entry)


def test_tables_that_no_fault_accounts_for_are_swept_away(machine: Machine, box: Box) -> None:
    _entry(box)
    Dns(box).sweep()
    assert [(pid, commands.splitlines()[-1]) for pid, commands in machine.ran] == [
        (21, "list tables ip"),
        (21, "delete table ip clusterkit_dns"),
    ]
