"""Log lines that must never be there are found; those that a fault excuses are not."""

from __future__ import annotations

import pytest

from clusterkit.components.base import Never
from clusterkit.components.registry import Registry
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.never import find


def _entry(text: str, node: str = "kv-1", component: str = "kv") -> LogEntry:
    return LogEntry(1, node, component, "a", "stdout", "", text, "id", 0)


PANIC = Never("^panic: ", "it panicked", frozenset({"disk"}))


def test_it_is_found_in_the_component_that_it_is_said_of() -> None:
    entries = [_entry("panic: no"), _entry("don't panic: all is well"), _entry("panic: no", "db-1", "db")]
    assert [one.entry for one in find(entries, {"kv": (PANIC,)}, {})] == entries[:1]


def test_a_fault_excuses_the_node_that_it_hit_and_no_other() -> None:
    entries = [_entry("panic: no"), _entry("panic: no", "kv-2")]
    hit = {"kv-1": frozenset({"disk"}), "kv-2": frozenset({"process"})}
    assert [one.entry.node for one in find(entries, {"kv": (PANIC,)}, hit)] == ["kv-2"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("etcd", "panic: tocommit(11) is out of range [lastIndex(8)]. Was the raft log corrupted, truncated, or lost?"),
        ("etcd", '{"level":"fatal","ts":"2026-01-01T00:00:00Z","msg":"walpb: crc mismatch"}'),
        ("etcd", '{"level":"warn","msg":"found hash inconsistency with peer"}'),
        ("redis", "1:M 01 Jan 2026 00:00:00.000 # === REDIS BUG REPORT START: Cut & paste starting from here ==="),
        ("redis", "1:M 01 Jan 2026 00:00:00.000 # Bad file format reading the append only file a.aof: make a backup"),
        ("redis-sentinel", "1:X 01 Jan 2026 00:00:00.000 # === ASSERTION FAILED ==="),
        ("service", "panic: runtime error: index out of range"),
        ("service", "WARNING: DATA RACE"),
        ("service", "AssertionError: the log is shorter than what was committed"),
    ],
)
def test_what_the_kinds_must_never_say(kind: str, text: str) -> None:
    component = Registry()[kind]
    options = component.options.model_validate(
        {"watches": "x"} if kind == "redis-sentinel" else {"command": "x"} if kind == "service" else {}
    )
    found = list(find([_entry(text)], {"kv": component.never_for(options)}, {}))
    assert [one.entry.text for one in found] == [text]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("etcd", '{"level":"warn","msg":"lost leader; the local member is not fatal"}'),
        ("redis", "1:S 01 Jan 2026 00:00:00.000 * MASTER <-> REPLICA sync started"),
        ("service", "no panic, no assertion: ready"),
    ],
)
def test_what_they_may_say(kind: str, text: str) -> None:
    component = Registry()[kind]
    options = component.options.model_validate({"command": "x"} if kind == "service" else {})
    assert not list(find([_entry(text)], {"kv": component.never_for(options)}, {}))
