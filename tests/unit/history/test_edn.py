"""The reader of EDN."""

from __future__ import annotations

from typing import Any

import pytest

from clusterkit.history.edn import EdnError, entries


def _read(text: str) -> list[Any]:
    return [form for _, form in entries(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nil", None),
        ("true", True),
        (":a/b", "a/b"),
        ("-12N", -12),
        ("1.5e3M", 1500.0),
        ("1/4", 0.25),
        (r'"a\"b\n\u00e9"', 'a"b\né'),
        (r"\newline", "\n"),
        (r"\x", "x"),
        (r"\u0041", "A"),
        ("symbol?", "symbol?"),
        ("{:a [1 nil], [1 2] #{3}}", {"a": [1, None], (1, 2): frozenset({3})}),
        ("{:a (1 2)}", {"a": [1, 2]}),
        ('{:at #inst "2026-01-01"}', {"at": "2026-01-01"}),
        ("{:a #_ignored 1 #_2}", {"a": 1}),
        ("#jepsen.history.Op{:f :read}", {"f": "read"}),
    ],
)
def test_reads(text: str, value: Any) -> None:
    assert _read(text) == [value]


def test_items_of_a_vector_at_the_top_come_one_by_one_with_their_lines() -> None:
    assert list(entries("; a comment\n[1\n 2, #_3\n]\n(4)")) == [(2, 1), (3, 2), (5, 4)]


@pytest.mark.parametrize(
    ("text", "line", "is_cut"),
    [
        ("\n{:a 1", 2, True),
        ("[1\n2", 2, True),
        ('"half', 1, True),
        ("]", 1, False),
        ("{:a 1]", 1, False),
        ("{:a}", 1, False),
    ],
)
def test_says_where_it_is_broken(text: str, line: int, is_cut: bool) -> None:
    with pytest.raises(EdnError) as raised:
        _read(text)
    assert (raised.value.line, raised.value.is_cut) == (line, is_cut)
