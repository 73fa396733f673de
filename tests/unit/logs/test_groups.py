"""Which errors are alike, and when a fault was."""

from __future__ import annotations

import json
import re

import pytest

from clusterkit.errors import UsageError
from clusterkit.logs.around import Moments, around
from clusterkit.logs.entry import OWN, LogEntry
from clusterkit.logs.groups import grouped, likeness
from clusterkit.logs.own import OwnStep
from clusterkit.logs.query import trace_pattern
from clusterkit.logs.text import Text, group_as_json


def entry(text: str, at: int = 0, node: str = "api-1", component: str = "api") -> LogEntry:
    return LogEntry(at * 10**9, node, component, "a", "stderr", "error", text, "x", at)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("failed to send 3 of 4 messages", "failed to send 12 of 40 messages"),
        ("dial tcp 10.64.3.11:2379: connection refused", "dial tcp 10.64.3.12:2380: connection refused"),
        (
            "2026-11-24 13:45:45 0 [ERROR] could not open the table",
            "2026-11-25 03:00:01 7 [ERROR] could not open the table",
        ),
        ("cannot open 'a.db' for reading", "cannot open 'b.db' for reading"),
        ('{"level":"error","msg":"lost peer 8e9e05c52164694d"}', '{"msg":"lost peer 91bc3c398fb3c146","term":4}'),
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g(1)\nValueError: 17 is too much',
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g(1)\nValueError: 18 is too much',
        ),
    ],
)
def test_alike(one: str, other: str) -> None:
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("connection refused", "connection reset"),
        ("lost the leader", "lost the follower"),
        ('{"msg":"a"}', '{"msg":"b"}'),
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g(1)\nValueError: too much',
            'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g(1)\nKeyError: too much',
        ),
        ('"one"', '"two"'),
    ],
)
def test_not_alike(one: str, other: str) -> None:
    assert likeness(one) != likeness(other)


def test_groups_are_counted_most_frequent_first() -> None:
    found = grouped(
        [
            entry("disk is full", 1),
            entry("lost peer 1", 2),
            entry("lost peer 2", 3, "api-2"),
            entry("lost peer 3", 9),
            entry("disk is full", 4, "db-1", "db"),
        ]
    )
    assert [(group.component, group.count, group.sample.text) for group in found] == [
        ("api", 3, "lost peer 1"),
        ("api", 1, "disk is full"),
        ("db", 1, "disk is full"),
    ]
    assert (found[0].first_ns, found[0].last_ns, found[0].nodes) == (2 * 10**9, 9 * 10**9, {"api-1": 2, "api-2": 1})


def test_a_group_as_people_and_as_programs_read_it() -> None:
    (group,) = grouped([entry("lost peer 1\n  of three\x1b[2J", 1), entry("lost peer 2\n  of three\x1b[2J", 3)])
    text = Text(["api-1"], utc=True, now=0)
    assert text.group(group) == "2 x api  00:00:01.000 to 00:00:03.000  api-1 2\n    lost peer 1\n      of three␛[2J\n"
    said = json.loads(group_as_json(group))
    assert (said["count"], said["nodes"], said["first"]) == (2, {"api-1": 2}, "1970-01-01T00:00:01.000000000Z")
    assert said["sample"]["text"].startswith("lost peer 1")


# -- around a fault ----------------------------------------------------------------------------------------------------


def steps(*said: tuple[int, str]) -> list[OwnStep]:
    return [OwnStep("1", (), "", LogEntry(at * 10**9, OWN, OWN, "", "own", "info", text, "", at)) for at, text in said]


IN_A_SCENARIO = steps(
    (10, "kill registry-1"),
    (11, "kill registry-1: asked 1 down, seen 1 of 1 down"),
    (18, "healed: kill registry-1"),
    (19, "kill registry-1, healed: seen 0 of 1 down"),
    (30, "kill registry-1"),
    (31, "part cache-1, cache-2"),
    (38, "healed: kill registry-1"),
)
BY_A_VERB = steps(
    (5, "start cache ..."),
    (7, "start cache: done in 2.00 s"),
    (10, "kill-1: kill registry-1"),
    (11, "kill-1: asked 1 down, seen 1 of 1 down"),
    (28, "kill-1 healed: kill registry-1"),
)


@pytest.mark.parametrize(
    ("given", "words", "begin", "end"),
    [
        (IN_A_SCENARIO, "kill registry-1", 30, 38),
        (IN_A_SCENARIO, "KILL", 30, 38),
        (IN_A_SCENARIO, "part", 31, 31),
        (IN_A_SCENARIO[:4], "registry", 10, 19),
        (BY_A_VERB, "registry", 10, 28),
        (BY_A_VERB, "start cache", 5, 7),
    ],
)
def test_the_last_fault_that_fits(given: list[OwnStep], words: str, begin: int, end: int) -> None:
    found = around(given, words)
    assert isinstance(found, Moments)
    assert (found.begin_ns, found.end_ns) == (begin * 10**9, end * 10**9)


def test_none_that_fits() -> None:
    with pytest.raises(UsageError) as seen:
        around(IN_A_SCENARIO, "pause")
    assert seen.value.mend == "what it did last: part cache-1, cache-2; kill registry-1"
    with pytest.raises(UsageError, match='says "pause"'):
        around([], "pause")


# -- traces ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "GET / trace_id=7f3c 200",
        '{"msg": "x", "trace_id": "7f3c"}',
        '{"traceId":"7f3c","a":1}',
        "trace: 7f3c",
        "trace.id=7F3C",
        "traceparent: 00-7f3c-00f067aa0ba902b7-01",
    ],
)
def test_a_line_of_a_trace(line: str) -> None:
    assert trace_pattern("7f3c").search(line)


@pytest.mark.parametrize("line", ["7f3c", "trace_id=7f3cd", "trace_id=a7f3c", "backtrace=7f3c", "trace_id=.*"])
def test_a_line_of_none(line: str) -> None:
    assert not re.search(trace_pattern("7f3c"), line)
