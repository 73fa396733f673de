"""What happened between two looks, and what the engine says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clusterkit.agent.client import Mark
from clusterkit.health.events import Event, merged, of_engine, of_faults, of_health, of_leaders, of_life
from clusterkit.health.status import NodeHealth

COMPONENTS = {"cache-1": "cache", "cache-2": "cache"}
LABELS = {"clusterkit.node": "cache-1", "clusterkit.component": "cache"}


def test_what_the_engine_tells_of_nodes() -> None:
    died = {
        "Action": "die",
        "timeNano": 1_700_000_000_123_000_000,
        "Actor": {"Attributes": {**LABELS, "exitCode": "137"}},
    }
    assert of_engine(died) == Event(1_700_000_000_123_000_000, "node", "ended", "cache-1", "cache", "code 137")
    assert of_engine({**died, "Action": "exec_start: redis-cli"}) is None
    assert of_engine({**died, "Actor": {"Attributes": {}}}) is None


@pytest.mark.parametrize(("status", "detail"), [("exited", "code 137"), ("running", "")])
def test_what_the_engine_keeps_of_a_node(status: str, detail: str) -> None:
    state = {"StartedAt": "2026-11-22T00:00:02.5Z", "FinishedAt": "2026-11-22T02:00:03+02:00"}
    said = {"Created": "2026-11-22T00:00:01.000000999Z", "State": {**state, "ExitCode": 137, "Status": status}}
    begun = 1_795_305_600_000_000_000
    assert [(event.what, event.time_ns - begun, event.detail) for event in of_life(said, "cache-1", "cache")] == [
        ("created", 1_000_000_000, ""),
        ("started", 2_500_000_000, ""),
        ("ended", 3_000_000_000, detail),
    ]
    never = {"StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z", "Status": "created"}
    said["State"] = {**never, "ExitCode": 0}
    assert [event.what for event in of_life(said, "cache-1", "cache")] == ["created"]


def test_what_was_told_is_not_told_again() -> None:
    second = 1_000_000_000
    told = Event(100 * second, "node", "ended", "cache-1", "cache", "code 137")
    same, other = replace(told, time_ns=told.time_ns - 30_000), replace(told, node="cache-2")
    forgotten = replace(told, what="started", time_ns=50 * second, detail="")
    assert merged([told], [same, other, forgotten]) == [forgotten, told, other]


def test_a_failover_is_told_once() -> None:
    before = {"cache-1": NodeHealth("healthy", "primary"), "cache-2": NodeHealth("healthy", "replica")}
    after = {"cache-1": NodeHealth("down"), "cache-2": NodeHealth("healthy", "primary")}
    told = list(of_health(before, after, COMPONENTS, 7))
    assert told == [
        Event(7, "health", "down", "cache-1", "cache"),
        Event(7, "role", "primary", "cache-2", "cache", "was replica"),
    ]
    assert list(of_health(after, after, COMPONENTS, 8)) == []


def test_the_first_look_tells_all() -> None:
    seen = {"cache-1": NodeHealth("unhealthy", "primary", seen="PING: timed out")}
    assert [(event.kind, event.what, event.detail) for event in of_health({}, seen, COMPONENTS, 7)] == [
        ("role", "primary", ""),
        ("health", "unhealthy", "PING: timed out"),
    ]


def test_leaders_none_of_them_and_two() -> None:
    one = {"cache-1": NodeHealth("healthy", "primary"), "cache-2": NodeHealth("healthy", "replica")}
    none = {"cache-1": NodeHealth("down"), "cache-2": NodeHealth("healthy", "replica")}
    two = {name: NodeHealth("healthy", "primary") for name in COMPONENTS}
    told = [
        (event.component, event.what, event.detail)
        for before, after in (({}, one), (one, one), (one, none), (none, two))
        for event in of_leaders(before, after, COMPONENTS, 7)
    ]
    assert told == [
        ("cache", "cache-1", ""),
        ("cache", "nobody", "was cache-1"),
        ("cache", "cache-1, cache-2", "was nobody"),
    ]


def test_faults_come_get_overdue_and_go() -> None:
    mark = Mark("cut-1", "shop", "isolate", "cut", "isolate cache-1", ("cache-1", "cache-2"), 5, 9.0, {}, {})
    overdue = replace(mark, left_s=0.0, is_overdue=True)
    injected = Event(5, "fault", "injected", component="cut-1", detail="isolate cache-1", nodes=mark.nodes)
    assert list(of_faults([], [mark], 7)) == [injected]
    assert list(of_faults([mark], [mark], 7)) == []
    assert list(of_faults([mark], [overdue], 7)) == [replace(injected, time_ns=7, what="overdue")]
    assert list(of_faults([overdue], [overdue], 7)) == []
    assert list(of_faults([overdue], [], 7)) == [replace(injected, time_ns=7, what="healed")]


def test_as_json() -> None:
    said = Event(1_700_000_000_123_456_789, "role", "leader", "db-1", "db").as_json("shop")
    assert said["time"] == "2023-11-14T22:13:20.123+00:00"
    assert said["cluster"] == "shop"
    assert said["time_ns"] == 1_700_000_000_123_456_789
