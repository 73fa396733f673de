"""What people write after --since and --until."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from clusterkit.errors import UsageError
from clusterkit.logs.when import moment
from tests.unit.logs.fake_engine import SECOND

NOW = 1_795_385_462 * SECOND
"""2026-11-22T22:11:02Z"""
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", -300),
        ("1h30m", -5400),
        ("250ms", -0.25),
        ("22:11:02", 0),
        ("22:11", -2),
        ("22:12", 58 - 86400),
        ("2026-11-22T22:11:02Z", 0),
        ("2026-11-22 22:11:02.5", 0.5),
        ("2026-11-22T23:11:02+01:00", 0),
        ("2026-11-22T21:41:02-0030", 0),
        ("2026-11-22", -(22 * 3600 + 11 * 60 + 2)),
    ],
)
def test_moment(text: str, seconds: float) -> None:
    assert moment(text, NOW, UTC) == NOW + round(seconds * SECOND)


def test_nanoseconds_are_kept() -> None:
    assert moment("2026-11-22T22:11:02.874940668Z", NOW) == NOW + 874940668


def test_a_zone_holds_where_none_is_named() -> None:
    assert moment("2026-11-23T00:11:02", NOW, EAST) == NOW


@pytest.mark.parametrize("text", ["", "yesterday", "5", "5 days", "25:00", "2026-13-01", "T", "Z"])
def test_nonsense_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment") as caught:
        moment(text, NOW, UTC)
    assert "5m" in str(caught.value.mend)
