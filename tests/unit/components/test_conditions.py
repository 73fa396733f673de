"""Shared conditions look once, at all nodes, and say in words what they saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clusterkit.client import ClientError
from clusterkit.components.base import Component, Member, Port, Running
from clusterkit.components.conditions import all_of, answers, ask_each, listening, replicated, words, written_and_read
from clusterkit.errors import NodeUnreachable
from clusterkit.testing import FakeClient
from tests.unit.components.node_servers import FakeEtcd, group, running

CLIENTS: dict[str, FakeClient] = {}
"""Member name -> the client that STORE gives to it."""


def stored(_running: Running, member: Member) -> FakeClient:
    made = CLIENTS[member.name]
    return FakeClient(made.values, made.trouble)


STORE = Component(
    kind="store",
    version="1",
    summary="a store",
    ports={"client": Port(7000)},
    command=("stored",),
    client="tests.unit.components.test_conditions:stored",
)


def test_listening_and_answers_name_the_nodes_that_do_not() -> None:
    of = group(STORE)
    with FakeEtcd().serve() as port, FakeEtcd().serve() as other:
        closed = other
    with FakeEtcd().serve() as port:
        seen = running(STORE, of, {"store-1": port, "store-2": closed})
        assert listening("client")(seen) == {"store-2": "port client: connection refused"}
        assert answers("client", "/x")(seen) == {"store-2": "GET /x: connection refused"}
        assert answers("client", "/x", 404)(seen)["store-1"] == "GET /x: status 200, not 404"


def test_ask_each_keeps_what_failed_apart() -> None:
    def ask(member: Member) -> int:
        if member.index == 2:
            raise ClientError("NOAUTH")
        return member.index

    assert ask_each(group(STORE).members, ask) == ({"store-1": 1, "store-3": 3}, {"store-2": "NOAUTH"})
    assert ask_each((), ask) == ({}, {})


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ask_each(group(STORE).members, lambda member: member.index // 0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError("timed out"), "timed out"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ClientError("LOADING Redis is loading"), "LOADING Redis is loading"),
        (NodeUnreachable("store-1 has no port\nmore"), "store-1 has no port"),
        (ConnectionError(), "ConnectionError"),
    ],
)
def test_words_are_one_line(error: Exception, expected: str) -> None:
    assert words(error) == expected


def _store(monkeypatch: pytest.MonkeyPatch, **clients: Any) -> Running:
    monkeypatch.setattr("tests.unit.components.test_conditions.CLIENTS", clients)
    made = {name.replace("_", "-"): client for name, client in clients.items()}
    monkeypatch.setattr("tests.unit.components.test_conditions.CLIENTS", made)
    return running(STORE, group(STORE), dict.fromkeys(made, 1))


def test_one_system_serves_what_was_written_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[str, str] = {}
    seen = _store(monkeypatch, store_1=FakeClient(shared), store_2=FakeClient(shared), store_3=FakeClient(shared))
    assert written_and_read(seen) == {}
    assert shared == {}


def test_a_node_apart_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[str, str] = {}
    seen = _store(monkeypatch, store_1=FakeClient(shared), store_2=FakeClient(shared), store_3=FakeClient({}))
    assert written_and_read(seen) == {
        "store-2": "it does not serve what was written through store-3",
        "store-3": "it does not serve what was written through store-1",
    }
    assert shared == {}


def test_a_node_that_takes_no_writes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = FakeClient({}, ClientError("READONLY"))
    seen = _store(monkeypatch, store_1=FakeClient({}), store_2=refusing)
    assert written_and_read(seen) == {"store-2": "a write through it failed: READONLY"}


def test_one_node_reads_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written_and_read(_store(monkeypatch, store_2=FakeClient({}))) == {}


class Late(dict[str, str]):
    """Gives nothing before it was asked three times."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default) if self.asked > 3 else default


def test_what_comes_a_moment_later_counts_as_replicated(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Late()
    seen = _store(monkeypatch, store_1=FakeClient(shared), store_2=FakeClient(shared), store_3=FakeClient(shared))
    assert replicated(seen) == {}
    assert shared.asked > 3


def test_what_never_comes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[str, str] = {}
    seen = _store(monkeypatch, store_1=FakeClient(shared), store_2=FakeClient(shared), store_3=FakeClient({}))
    assert replicated(replace(seen, timeout=0.1)) == {
        "store-2": "it does not get what others write",
        "store-3": "it does not get what others write",
    }
    refusing = _store(monkeypatch, store_1=FakeClient({}), store_2=FakeClient({}, ClientError("READONLY")))
    assert replicated(refusing) == {"store-2": "a write through it failed: READONLY"}


def test_all_of() -> None:
    assert all_of(["c", "a", "b"]) == "a, b and c"
    assert all_of(["a"]) == "a"
