"""What happened between two looks, and what the engine says."""

from __future__ import annotations

from clusterkit.health.events import Event, of_engine, of_faults, of_health
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


def test_faults_come_and_go() -> None:
    assert list(of_faults({"kill-1": "kill cache-1"}, {"cut-1": "cut cache-2"}, 7)) == [
        Event(7, "fault", "injected", component="cut-1", detail="cut cache-2"),
        Event(7, "fault", "healed", component="kill-1", detail="kill cache-1"),
    ]


def test_as_json() -> None:
    said = Event(1_700_000_000_123_456_789, "role", "leader", "db-1", "db").as_json("shop")
    assert said["time"] == "2023-11-14T22:13:20.123+00:00"
    assert said["cluster"] == "shop"
    assert said["time_ns"] == 1_700_000_000_123_456_789
