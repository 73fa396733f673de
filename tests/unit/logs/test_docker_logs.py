"""The engine's stream of bytes -> lines: cut anywhere, long lines, both streams, terminals."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.errors import EnvironmentTrouble
from clusterkit.providers.base import LogLine
from clusterkit.providers.docker_logs import parse

SECOND = 1_000_000_000
AT = 1_795_385_462 * SECOND
"""2026-11-22T22:11:02Z"""


def stamp(nanoseconds: int) -> bytes:
    return b"2026-11-22T22:11:02.%09dZ " % nanoseconds


def frame(stream: Literal["stdout", "stderr"], nanoseconds: int, body: bytes) -> bytes:
    message = stamp(nanoseconds) + body
    return bytes([1 if stream == "stdout" else 2, 0, 0, 0]) + len(message).to_bytes(4, "big") + message


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds)]


bodies = st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")))


@given(st.lists(bodies), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_bytes_cut_anywhere(written: list[tuple[Literal["stdout", "stderr"], bytes]], places: list[int]) -> None:
    data = b"".join(frame(stream, at, body + b"\n") for at, (stream, body) in enumerate(written))
    assert list(parse(cut(data, places))) == [
        LogLine(AT + at, stream, body.removesuffix(b"\r").decode(errors="replace"))
        for at, (stream, body) in enumerate(written)
    ]


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_parts_of_a_long_line_are_joined_across_the_other_stream(places: list[int]) -> None:
    data = (
        frame("stdout", 5, b"x" * 16384)
        + frame("stderr", 6, b"between\n")
        + frame("stdout", 5, b"y" * 16384)
        + frame("stdout", 5, b"end\n")
    )
    assert [(line.time_ns - AT, line.text) for line in parse(cut(data, places))] == [
        (6, "between"),
        (5, "x" * 16384 + "y" * 16384 + "end"),
    ]


def test_last_words_without_newline_are_a_line_of_their_own() -> None:
    data = frame("stdout", 1, b"killed in the mid") + frame("stdout", 9, b"started again\n") + frame("stderr", 10, b"?")
    assert [line.text for line in parse([data])] == ["killed in the mid", "started again", "?"]


def test_lines_before_since_are_left_out_to_the_nanosecond() -> None:
    data = b"".join(frame("stdout", at, b"%d\n" % at) for at in (1, 2, 3)) + frame("stdout", 1, b"old end")
    assert [line.text for line in parse([data], AT + 2)] == ["2", "3"]


def test_a_terminal_is_not_multiplexed() -> None:
    long = b"z" * 16384
    data = stamp(1) + b"one\r\n" + stamp(2) + long + stamp(2) + long + stamp(2) + b"!\r\n" + stamp(3) + b"rest"
    for places in ([], [40], [16390, 16400, 16420]):
        assert [(line.time_ns - AT, line.stream, line.text) for line in parse(cut(data, places))] == [
            (1, "stdout", "one"),
            (2, "stdout", "z" * 32768 + "!"),
            (3, "stdout", "rest"),
        ]


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        (b"2026-11-22T22:11:02.000000001Z", AT + 1),
        (b"2026-11-22T22:11:02Z", AT),
        (b"2026-11-22T22:11:02.5Z", AT + SECOND // 2),
        (b"2026-11-23T00:11:02.123456789+02:00", AT + 123456789),
    ],
)
def test_times(text: bytes, time_ns: int) -> None:
    message = text + b" x\n"
    data = b"\x01\0\0\0" + len(message).to_bytes(4, "big") + message
    assert list(parse([data])) == [LogLine(time_ns, "stdout", "x")]


def test_an_empty_log_has_no_lines() -> None:
    assert list(parse([])) == []
    assert list(parse([b""])) == []


def test_an_error_of_the_engine_is_told() -> None:
    with pytest.raises(EnvironmentTrouble, match="error reading logs"):
        list(parse([b"\x03\0\0\0" + (18).to_bytes(4, "big") + b"error reading logs"]))


def test_a_line_without_a_time_is_refused() -> None:
    with pytest.raises(EnvironmentTrouble, match="without a time"):
        list(parse([b"\x01\0\0\0" + (8).to_bytes(4, "big") + b"no time\n"]))
