"""Stack traces stay whole, and only they; levels are read. Cases are the files in tests/fixtures/logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.logs.entry import LogEntry
from clusterkit.logs.join import Joiner, join
from clusterkit.logs.parse import LevelReader
from tests.unit.logs.fake_engine import SECOND, entry

CASES = sorted((Path(__file__).parents[2] / "fixtures" / "logs").glob("*.txt"))
LEVEL = LevelReader()


def _read(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The lines, and the (level, text) of the entries they make."""
    lines: list[str] = []
    entries: list[tuple[str, str]] = []
    for raw in path.read_text().splitlines():
        mark, _, text = raw.partition(" ")
        lines.append(text)
        if mark == "|":
            level, before = entries.pop()
            entries.append((level, f"{before}\n{text}"))
        else:
            entries.append((mark.removesuffix(">").replace("-", ""), text))
    return lines, entries


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    lines, expected = _read(path)
    written = [entry(at * 1000, text) for at, text in enumerate(lines)]
    written = [one._replace(text=text) for one, text in zip(written, lines, strict=True)]
    made = list(join(written, LEVEL))
    assert [(LEVEL(one.text), one.text) for one in made] == expected


def test_the_two_streams_do_not_cut_each_other_and_keep_the_order_of_first_lines() -> None:
    written = [
        entry(1, "before"),
        entry(2, "panic: x", stream="stderr"),
        entry(3, "out 1"),
        entry(4, "goroutine 1 [running]:", stream="stderr"),
        entry(5, "out 2"),
        entry(6, "\t/main.go:1", stream="stderr"),
        entry(7, "out 3"),
        entry(8, "other", stream="stderr"),
    ]
    made = [one.text for one in join(written, LEVEL)]
    assert made == [
        "before",
        "panic: x\ngoroutine 1 [running]:\n\t/main.go:1",
        "out 1",
        "out 2",
        "out 3",
        "other",
    ]


def test_a_line_long_after_begins_anew() -> None:
    written = [entry(0, "Caused by: x"), entry(SECOND + 1, "\tat y")]
    assert len(list(join(written, LEVEL))) == 2


def test_an_exception_without_trouble_before_it_begins_anew() -> None:
    written = [entry(0, "INFO fine"), entry(1, "java.lang.IllegalStateException: x"), entry(2, "\tat y")]
    assert [one.text.count("\n") for one in join(written, LEVEL)] == [0, 1]


def test_no_entry_grows_without_bound() -> None:
    joiner = Joiner(LEVEL, max_lines=10)
    made = [one for at in range(35) for one in joiner.feed(entry(at, "\tat x"))]
    made += joiner.flush()
    assert [one.text.count("\n") + 1 for one in made] == [10, 10, 10, 5]
    assert joiner.is_empty


def test_lines_do_not_wait_for_an_open_trace_for_ever() -> None:
    joiner = Joiner(LEVEL, max_lines=10)
    assert list(joiner.feed(entry(0, "panic: x", stream="stderr"))) == []
    waited = [at for at in range(1, 30) if list(joiner.feed(entry(at, f"out {at}")))]
    assert waited[0] == 10
    joiner = Joiner(LEVEL)
    list(joiner.feed(entry(0, "panic: x", stream="stderr")))
    assert [one.text for one in joiner.feed(entry(2 * SECOND, "later"))] == ["panic: x"]


texts = st.sampled_from(
    ["plain", "", " ", "\tat x", "panic: y", "goroutine 1 [running]:", "Traceback (most recent call last):", "E: z"]
)


@given(st.lists(st.tuples(texts, st.sampled_from(["stdout", "stderr"]), st.sampled_from([0, 1, 2 * SECOND]))))
def test_no_line_is_lost_or_doubled_or_moved_within_its_stream(written: list[tuple[str, str, int]]) -> None:
    now, lines = 0, list[LogEntry]()
    for seq, (text, stream, step) in enumerate(written):
        now += step
        lines.append(entry(now, stream="stderr" if stream == "stderr" else "stdout")._replace(text=text, seq=seq))
    made = list(join(lines, LEVEL))
    assert [one.seq for one in made] == sorted(one.seq for one in made)
    for stream in ("stdout", "stderr"):
        there = [text for one in made if one.stream == stream for text in one.text.split("\n")]
        assert there == [one.text for one in lines if one.stream == stream]
