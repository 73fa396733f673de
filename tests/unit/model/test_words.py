"""Words for messages."""

from __future__ import annotations

import pytest

from clusterkit.model.words import did_you_mean, listed, nearest, shown


@pytest.mark.parametrize(
    ("word", "near"), [("replica", "replicas"), ("REPLICAS", "replicas"), ("cpu", "cpus"), ("banana", None), ("", None)]
)
def test_the_nearest_word(word: str, near: str | None) -> None:
    assert nearest(word, ("cpus", "memory", "replicas")) == near


def test_lists_in_prose() -> None:
    assert listed([]) == "nothing"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], "or") == "a, b or c"


def test_all_words_are_listed_where_none_is_near() -> None:
    assert did_you_mean("banana", ("b", "a"), "keys") == "known keys: a, b"
    assert did_you_mean("banana", (), "keys") == "there are no keys here"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"), (True, "true"), (3, "3"), ("a\nb", '"a\\nb"'), ([], "an empty list"),
        ({"a": 1}, "a mapping"),
        ("x" * 100, '"' + "x" * 57 + '..."'),
    ],
)  # fmt: skip
def test_values_as_a_reader_knows_them(value: object, text: str) -> None:
    assert shown(value) == text
