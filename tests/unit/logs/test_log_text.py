"""Entries as people and as programs read them."""

from __future__ import annotations

import json
from typing import Literal

from clusterkit.logs.entry import LogEntry
from clusterkit.logs.text import Text, as_json

DAY = 1_795_385_462
"""2026-11-22T22:11:02Z"""


def _entry(
    text: str, node: str = "cache-1", level: str = "", seconds: int = DAY, stream: Literal["stdout", "own"] = "stdout"
) -> LogEntry:
    return LogEntry(seconds * 1_000_000_000 + 874_940_668, node, "cache", "a", stream, level, text, "0123", 7)


def test_one_line() -> None:
    text = Text(["cache-1", "registry-1"], utc=True, now=DAY)
    assert text(_entry("1:M 22 Nov 2026 22:11:02.874 * Ready")) == "22:11:02.874 cache-1    * Ready\n"


def test_further_lines_stand_below_the_first() -> None:
    text = Text(["cache-1"], utc=True, now=DAY)
    assert text(_entry("Traceback:\n  File x\n\nE")) == (
        "22:11:02.874 cache-1 Traceback:\n"
        "                       File x\n"
        "\n"
        "                     E\n"
    )  # fmt: skip


def test_another_day_is_told_once() -> None:
    text = Text(["cache-1"], utc=True, now=DAY)
    said = text(_entry("a", seconds=DAY - 86400)) + text(_entry("b", seconds=DAY - 86400)) + text(_entry("c"))
    assert said == (
        "-- 2026-11-21 --\n22:11:02.874 cache-1 a\n22:11:02.874 cache-1 b\n-- 2026-11-22 --\n22:11:02.874 cache-1 c\n"
    )


def test_a_longer_name_widens_the_column() -> None:
    text = Text(["a-1"], utc=True, now=DAY)
    assert text(_entry("x", "longer-1")) == "22:11:02.874 longer-1 x\n"
    assert text(_entry("y", "a-1")) == "22:11:02.874 a-1      y\n"


def test_control_characters_are_shown_and_colours_of_the_program_kept_on_a_terminal_alone() -> None:
    nasty = "\x1b[31mred\x1b[0m \x1b[2Jclear \r \x07 \x9b tab\tstays"
    plain = Text(["cache-1"], utc=True, now=DAY)(_entry(nasty))
    assert plain == "22:11:02.874 cache-1 red ␛[2Jclear ␍ ␇ \ufffd tab\tstays\n"
    coloured = Text(["cache-1"], has_colour=True, utc=True, now=DAY)(_entry(nasty))
    assert "\x1b[31mred\x1b[0m ␛[2Jclear" in coloured
    assert coloured.endswith("\x1b[0m\n")


def test_colours_by_node_and_level() -> None:
    text = Text(["a-1", "a-2"], has_colour=True, utc=True, now=DAY)
    one, two = text(_entry("x", "a-1")), text(_entry("x", "a-2", level="error"))
    assert one.split()[1] != two.split()[1].replace("a-2", "a-1")
    assert "\x1b[31mx\x1b[0m" in two
    assert "\x1b[1mclusterkit\x1b[0m" in text(_entry("x", "clusterkit", stream="own"))


def test_json_has_everything_as_it_was_written() -> None:
    line = as_json(_entry("1:M 22 Nov 2026 22:11:02.874 * Ready ü\nmore", level="info"))
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "2026-11-22T22:11:02.874940668Z",
        "node": "cache-1",
        "component": "cache",
        "zone": "a",
        "stream": "stdout",
        "level": "info",
        "text": "1:M 22 Nov 2026 22:11:02.874 * Ready ü\nmore",
        "runtime_id": "0123",
        "seq": 7,
    }
