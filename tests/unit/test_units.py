"""Text with units, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.units import Bandwidth, Duration, Percent, Rate, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1s", 1.0), ("1m30s", 90.0), ("2h", 7200.0), ("1.5s", 1.5), ("10us", 1e-5), ("0s", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "bytes_"), [("64MB", 64 * 2**20), ("1g", 2**30), ("512k", 2**19), ("10B", 10), ("1GiB", 2**30)]
)
def test_sizes(text: str, bytes_: int) -> None:
    assert Size.parse(text).bytes == bytes_


def test_rates() -> None:
    assert Rate.parse("100/s").per_second == 100
    assert Rate.parse("60/m").per_second == pytest.approx(1)


@pytest.mark.parametrize("value", [5, 1.5, True, None, "", "5", "ms", "5 parsecs", "-1s", [], "1s2"])
def test_what_has_no_unit_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match=r'"(5s|1.5s|250ms)"'):
        Duration.parse(value)


@given(st.integers(0, 10**7))
def test_a_duration_prints_as_it_is_read(milliseconds: int) -> None:
    duration = Duration(milliseconds / 1000)
    assert Duration.parse(str(duration)).milliseconds == milliseconds


@given(st.integers(0, 10**7))
def test_the_same_in_another_unit_is_equal(number: int) -> None:
    assert Duration.parse(f"{number}ms") == Duration.parse(f"{number // 1000}.{number % 1000:03}s")
    assert Bandwidth.parse(f"{number}kbit") == Bandwidth.parse(f"{number // 1000}.{number % 1000:03}mbit")


@given(st.integers(0, 2**40))
def test_a_size_prints_as_it_is_read(number: int) -> None:
    assert Size.parse(str(Size(number))).bytes == number


@pytest.mark.parametrize("text", ["0.01%", "0.5%", "0%", "1%", "12.5%", "100%"])
def test_a_share_prints_as_it_is_read(text: str) -> None:
    assert str(Percent.parse(text)) == text
