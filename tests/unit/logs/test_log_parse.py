"""Levels by a component's own format, comparisons, and the time that a program puts before its lines."""

from __future__ import annotations

import pytest

from clusterkit.components.base import LogFormat
from clusterkit.logs.parse import LevelReader, for_people, is_at_least
from tests.unit.logs.fake_engine import SECOND

NOW = 1_795_385_462 * SECOND
"""2026-11-22T22:11:02Z"""


def test_a_component_says_how_its_lines_carry_their_level() -> None:
    read = LevelReader(LogFormat(level=r"^\S+ (?P<level>\S)", words={"!": "critical", "loud": "warning"}))
    assert read("12:00 ! it burns") == "critical"
    assert read("12:00 W a usual letter") == "warning"
    assert read("12:00 ? ERROR: not by its own mark, so by the usual forms") == ""
    assert read("ERROR") == "error"


def test_a_component_names_its_json_key_and_its_own_words() -> None:
    read = LevelReader(LogFormat(json_level="sev", words={"loud": "warning"}))
    assert read('{"sev": "loud"}') == "warning"
    assert read('{"sev": "Info", "level": "error"}') == "info"


def test_of_several_lines_the_first_counts() -> None:
    assert LevelReader()("INFO fine\nERROR not seen") == "info"


@pytest.mark.parametrize(
    ("level", "asked", "passes"),
    [
        ("", "debug", True),
        ("", "info", True),
        ("", "warning", False),
        ("debug", "info", False),
        ("warning", "warning", True),
        ("critical", "error", True),
    ],
)
def test_a_line_without_level_counts_as_info(level: str, asked: str, passes: bool) -> None:
    assert is_at_least(level, asked) is passes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1:M 22 Nov 2026 22:11:02.874 * Ready", "* Ready"),
        ("2026-11-22 22:11:02,874 [myid:1] - INFO  x", "[myid:1] - INFO  x"),
        ("2026-11-22T22:11:03.874Z INFO x", "INFO x"),
        ("[2026-11-22 22:11:02.1] INFO x", "INFO x"),
        ("2026-11-22 22:11:02.874 UTC [31] LOG:  x", "[31] LOG:  x"),
        ("2026-11-22 23:11:02 a clock an hour ahead stays", "2026-11-22 23:11:02 a clock an hour ahead stays"),
        ("1:M 22 Nov 2026 21:11:02.874 * so here", "1:M 22 Nov 2026 21:11:02.874 * so here"),
        ("2026-11-32 22:11:02 no such day", "2026-11-32 22:11:02 no such day"),
        ("1:M 22 Foo 2026 22:11:02.874 * no such month", "1:M 22 Foo 2026 22:11:02.874 * no such month"),
        ("10 lines", "10 lines"),
        ('{"level":"warn","ts":"2026-11-22T22:11:02.717Z","msg":"slow","took":"2s","n":3}', "[warn] slow took=2s n=3"),
        ('{"level":30,"time":1795385462874,"msg":"pino","a":{"b":[1]},"e":""}', '[info] pino a="{\\"b\\": [1]}" e=""'),
        ('{"message":"two words","path":"a b","who":null}', 'two words path="a b" who=null'),
        ('{"msg":"skewed","ts":"2026-11-22T23:11:02Z"}', "skewed ts=2026-11-22T23:11:02Z"),
        ('{"msg":"no time","ts":true,"time":"soon"}', "no time ts=true time=soon"),
        ('{"a": 1}', '{"a": 1}'),
        ('{"msg": broken', '{"msg": broken'),
        ("[main] x", "[main] x"),
        ("", ""),
    ],
)
def test_the_time_in_front_is_left_out_where_it_says_the_same(text: str, shown: str) -> None:
    assert for_people(text, NOW) == shown
