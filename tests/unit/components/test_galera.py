"""Galera: what nodes say, whom a stopped cluster begins from, and what a driver makes of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from clusterkit.client import ClientError, NotSent, Refused, Unmet
from clusterkit.components import galera, galera_driver
from clusterkit.components.base import KINDS, Fallen, Purpose, Running
from clusterkit.components.galera_client import SqlError
from clusterkit.node import State
from clusterkit.testing import FakeNode
from tests.unit.components.node_servers import group, running

UUID = "ff561b46-e7a2-11f1-a562-97f55b547a8d"
WELL = {"cluster_status": "Primary", "ready": "ON", "local_state_comment": "Synced", "cluster_size": "3"} | {
    "last_committed": "14",
    "local_recv_queue": "0",
    "cluster_state_uuid": UUID,
}


def state(seqno: int, *, last: bool = False, uuid: str = UUID) -> bytes:
    text = f"# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: {int(last)}\n"
    return text.encode()


@dataclass
class Stopped(FakeNode):
    """A node with files. Started with RECOVER there, it says `recovered` and ends, as start.sh does."""

    there: dict[str, bytes] = field(default_factory=dict)
    recovered: str = ""

    def read(self, path: str) -> bytes:
        if path not in self.there:
            raise FileNotFoundError(path)
        return self.there[path]

    def put(self, files: Any) -> None:
        self.there.update({file.path: file.content for file in files})

    def start(self) -> None:
        assert f"{galera.DATA}/RECOVER" in self.there
        self.there[f"{galera.DATA}/RECOVERED"] = f"{self.recovered}\n".encode()

    def stop(self, grace: float = 10.0) -> None:
        raise AssertionError(f"it does not run: {grace}")

    def state(self) -> State:
        return State.EXITED


def stopped(
    saved: Mapping[int, bytes], *, views: Mapping[int, str] | None = None, recovered: Mapping[int, str] | None = None
) -> Fallen:
    """`saved`: grastate.dat by the number of the member; `views`: gvwstate.dat; `recovered`: what it says."""
    nodes: dict[str, Any] = {}
    for number in (1, 2, 3):
        there = {f"{galera.DATA}/grastate.dat": saved[number]} if number in saved else {}
        if views and number in views:
            there[f"{galera.DATA}/gvwstate.dat"] = views[number].encode()
        nodes[f"galera-{number}"] = Stopped(
            f"galera-{number}", "192.0.2.1", there=there, recovered=(recovered or {}).get(number, "")
        )
    return Fallen(running(galera.COMPONENT, group(galera.COMPONENT), {}), nodes)


def test_the_last_one_that_went_begins() -> None:
    found = galera.choose(stopped({1: state(20), 2: state(21, last=True), 3: state(20)}), "")
    assert found is not None
    assert (found.node, found.loses) == ("galera-2", "")
    assert "the last one that went" in found.why


def test_else_the_one_with_most_begins_and_is_marked() -> None:
    fallen = stopped({1: state(5), 2: state(5), 3: state(7)})
    found = galera.choose(fallen, "")
    assert found is not None
    assert found.node == "galera-3"
    galera.begin(fallen, "galera-3")
    node = fallen.nodes["galera-3"]
    assert b"safe_to_bootstrap: 1" in node.read(f"{galera.DATA}/grastate.dat")
    assert node.read(f"{galera.DATA}/BOOTSTRAP") == b""


def test_after_a_crash_servers_are_asked_how_far_they_are() -> None:
    known = {1: f"{UUID}:9", 2: f"{UUID}:11", 3: f"{UUID}:10"}
    found = galera.choose(stopped(dict.fromkeys((1, 2, 3), state(-1)), recovered=known), "")
    assert found is not None
    assert (found.node, found.loses) == ("galera-2", "")
    assert "11" in found.why


def test_who_remembers_the_same_view_needs_no_help() -> None:
    view = "my_uuid: a\n#vwbeg\nview_id: 3 a 2\nmember: a 0\nmember: b 0\nmember: c 0\n#vwend\n"
    crashed = dict.fromkeys((1, 2, 3), state(-1))
    assert galera.choose(stopped(crashed, views=dict.fromkeys((1, 2, 3), view)), "") is None
    known = dict.fromkeys((1, 2, 3), f"{UUID}:9")
    assert galera.choose(stopped(crashed, views={1: view, 2: view}, recovered=known), "") is not None


def test_new_nodes_need_no_help() -> None:
    assert galera.choose(stopped({}), "") is None


@pytest.mark.parametrize(
    ("saved", "wish", "told"),
    [
        ({1: state(5), 2: state(7), 3: state(7)}, "galera-1", "the writes 6 to 7, which galera-2 has"),
        ({1: state(5), 2: state(7)}, "", "what only galera-3 had"),
        ({1: state(5), 2: state(7), 3: state(7, uuid=f"0{UUID[1:]}")}, "", "another history"),
        ({1: state(5), 2: state(7), 3: state(-1)}, "", "how far the data goes is not known"),
    ],
)
def test_what_may_be_lost_is_said(saved: Mapping[int, bytes], wish: str, told: str) -> None:
    found = galera.choose(stopped(saved, recovered={3: f"{UUID}:-1"}), wish)
    assert found is not None
    assert told in found.loses


def test_nobody_begins_from_nothing() -> None:
    with pytest.raises(ClientError, match="galera-3 has no data to begin from; galera-1 and galera-2 have"):
        galera.choose(stopped({1: state(5), 2: state(7)}), "galera-3")


# -- what running nodes say ------------------------------------------------------------------------------------------


def said(monkeypatch: pytest.MonkeyPatch, *nodes: Mapping[str, str]) -> Running:
    made = running(galera.COMPONENT, group(galera.COMPONENT), {f"galera-{n + 1}": 1 for n in range(len(nodes))})
    monkeypatch.setattr(galera, "status", lambda _running, member: nodes[member.index - 1])
    return made


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = said(monkeypatch, WELL, WELL, WELL)
    assert galera.is_synced(seen) == {}
    assert galera.read_roles(seen)["galera-1"][0].detail == "Synced, size 3, seqno 14"
    assert all(finding.is_ok for finding in galera.examine(seen))
    assert galera.choose(Fallen(seen, {}), "") is None


def test_a_minority_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {**WELL, "cluster_status": "non-Primary", "local_state_comment": "Initialized"}
    seen = said(monkeypatch, {**lost, "last_committed": "9"}, lost)
    assert "no primary component" in galera.is_synced(seen)["galera-1"]
    assert galera.read_roles(seen)["galera-2"][0].name == "non-primary"
    assert not all(finding.is_ok for finding in galera.examine(seen))
    found = galera.choose(Fallen(seen, {}), "")
    assert found is not None
    assert found.node == "galera-2"
    assert "galera-3" in found.loses


def test_who_copies_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = said(monkeypatch, WELL, {**WELL, "local_state_comment": "Joined"}, {**WELL, "cluster_size": "2"})
    assert galera.is_synced(seen) == {
        "galera-2": "it is Joined, not Synced",
        "galera-3": "it counts 2 members, 3 run",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"suspect_timeout": "100ms"}, "1s or more"),
        ({"buffer_pool": "1MB"}, "does not start with less than"),
        ({"settings": {"innodb_buffer_pool_size": 1}}, "has an option of its own, buffer_pool"),
        ({"settings": {"wsrep_node_name": "x"}}, "is set by clusterkit"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        galera.GaleraOptions.model_validate(given)


def test_durations_of_the_provider_keep_their_letters() -> None:
    member = group(galera.COMPONENT).members[0]
    line = galera.GaleraOptions(provider_settings={"pc.recovery": False}).provider(member)
    assert "evs.suspect_timeout=PT5S" in line
    assert "pc.recovery=false" in line
    quick = galera.GaleraOptions(suspect_timeout="2s").provider(member)
    assert "evs.keepalive_period=PT0.4S" in quick


# -- the driver ------------------------------------------------------------------------------------------------------


class FakeConnection:
    """Answers statements by how they begin: rows, a number of rows, or an error."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers, self.asked, self.is_closed = answers, list[str](), False

    def ask(self, statement: str, *_values: Any, **_deadline: Any) -> tuple[Any, int, int]:
        self.asked.append(statement)
        found = next((answer for begins, answer in self.answers.items() if statement.startswith(begins)), 1)
        if isinstance(found, Exception):
            raise found
        return (found, len(found), 0) if isinstance(found, tuple) else ((), found, 7)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def driving(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[galera_driver.GaleraDriver, FakeConnection]]:
    def make(
        kind: str, answers: Mapping[str, Any], **options: Any
    ) -> tuple[galera_driver.GaleraDriver, FakeConnection]:
        fake = FakeConnection(answers)
        monkeypatch.setattr(galera_driver, "connect", lambda _running, _member: fake)
        seen = running(galera.COMPONENT, group(galera.COMPONENT), {})
        purpose = Purpose(kind, galera.GaleraWorkload(**options))
        return galera_driver.GaleraDriver(seen, seen.members[0], purpose), fake

    return make


def test_each_kind_has_a_driver() -> None:
    assert set(galera.COMPONENT.drivers) == set(KINDS)


def test_calls_are_transactions(driving: Any) -> None:
    driver, fake = driving("register", {"SELECT": ((5,),)})
    assert driver.call("read", "r", None) == 5
    assert fake.asked[-3:] == ["START TRANSACTION", "SELECT value FROM numbers WHERE name = %s", "COMMIT"]
    assert fake.asked[0] == "SET SESSION wsrep_sync_wait = 1"
    assert driving("register", {}, reads="plain")[1].asked[0] == "SET SESSION wsrep_sync_wait = 0"


def test_a_condition_that_does_not_hold(driving: Any) -> None:
    driver, fake = driving("register", {"UPDATE": 0})
    with pytest.raises(Unmet):
        driver.call("cas", "r", [1, 2])
    assert fake.asked[-1] == "ROLLBACK"


@pytest.mark.parametrize("locking", [True, False])
def test_a_transfer_locks_only_when_asked(driving: Any, locking: bool) -> None:
    driver, fake = driving("bank", {"SELECT": (("a", 50), ("b", 10))}, locking=locking)
    driver.call("transfer", "bank", {"from": "a", "to": "b", "amount": 5})
    assert any(line.endswith("FOR UPDATE") for line in fake.asked) is locking
    with pytest.raises(Unmet):
        driver.call("transfer", "bank", {"from": "b", "to": "a", "amount": 11})


def test_the_other_kinds(driving: Any) -> None:
    assert driving("set", {"SELECT": ((1,), (2,))})[0].call("read", "s", None) == [1, 2]
    assert driving("counter", {"SELECT": ()})[0].call("read", "c", None) == 0
    assert driving("queue", {"SELECT": ((3, 42),)})[0].call("dequeue", "q", None) == 42
    assert driving("queue", {"SELECT": ()})[0].call("dequeue", "q", None) is None
    assert driving("ids", {})[0].call("generate", "i", None) == 7


@pytest.mark.parametrize(
    ("begins", "error", "raised"),
    [
        ("START", SqlError(1047, "not prepared"), Refused),
        ("REPLACE", SqlError(1213, "deadlock"), Refused),
        ("REPLACE", ConnectionError("gone"), NotSent),
        ("REPLACE", TimeoutError("timed out"), NotSent),
        ("COMMIT", SqlError(1213, "deadlock"), Refused),
        ("COMMIT", SqlError(1047, "not prepared"), Refused),
        ("COMMIT", SqlError(1180, "got error 5 during COMMIT"), SqlError),
        ("COMMIT", ConnectionError("gone"), ConnectionError),
        ("COMMIT", TimeoutError("timed out"), TimeoutError),
    ],
)
def test_only_what_was_surely_not_committed_is_a_no(
    driving: Any, begins: str, error: Exception, raised: type[Exception]
) -> None:
    driver, fake = driving("register", {begins: error})
    with pytest.raises(raised) as found:
        driver.call("write", "r", 1)
    assert type(found.value) is raised
    assert fake.is_closed or fake.asked[-1] == "ROLLBACK"
