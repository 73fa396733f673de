"""Variables and `.env` files, as Compose reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.model.interpolate import interpolate, parse_env

SET = {"A": "one", "EMPTY": "", "B": "two"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"), ("${A}", "one"), ("$A", "one"), ("$A/$B", "one/two"), ("$$A", "$A"), ("$${A}", "${A}"),
        ("${NONE:-word}", "word"), ("${EMPTY:-word}", "word"), ("${EMPTY-word}", ""), ("${NONE-word}", "word"),
        ("${NONE:-}", ""), ("${NONE:-${B}}", "two"), ("${NONE:-${NOR:-x}y}z", "xyz"), ("${A:+yes}", "yes"),
        ("${EMPTY:+yes}", ""), ("${EMPTY+yes}", "yes"), ("${NONE+yes}", ""), ("${A:?message}", "one"),
        ("${EMPTY?message}", ""), ("${NONE:-a:b}", "a:b"), ("${NONE:-$$}", "$"), ("a}b", "a}b"),
    ],
)  # fmt: skip
def test_variables_are_replaced(text: str, value: str) -> None:
    assert interpolate(text, SET) == (value, ())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${NONE}", "variable NONE is not set"),
        ("$NONE", "variable NONE is not set"),
        ("${NONE:?say it}", "variable NONE is not set: say it"),
        ("${EMPTY:?}", "variable EMPTY is empty"),
        ("${NONE:-$NOR}", "variable NOR is not set"),
        ("${A", '"${" has no closing "}"'),
        ("${}", '"${}" is no variable'),
        ("${A b}", '"${A b}" is no variable'),
        ("5$", 'a lone "$" names no variable'),
        ("$5", 'a lone "$" names no variable'),
    ],
)
def test_what_cannot_be_replaced(text: str, what: str) -> None:
    _, troubles = interpolate(text, SET)
    assert [trouble.what for trouble in troubles] == [what]
    assert troubles[0].mend


@given(st.text("${}AB:-?+x ", max_size=30))
def test_any_text_is_read(text: str) -> None:
    value, _ = interpolate(text, SET)
    assert isinstance(value, str)


@given(st.text())
def test_doubled_dollars_keep_any_text(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == (text, ())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\n\n# comment\n  B = 2 \n", {"A": "1", "B": "2"}),
        ("export A=1", {"A": "1"}),
        ("A=a # comment\nB=a#b\nC=#\n", {"A": "a", "B": "a#b", "C": ""}),
        ('A=\'$X # kept\'\nB="x\\ty\\"\\$z" # comment\n', {"A": "$X # kept", "B": 'x\ty"$z'}),
        ("A='one\ntwo'\nB=3\n", {"A": "one\ntwo", "B": "3"}),
        ("A=1\nB=${A}2\nC=$OUT\nD=${NONE}x\nE=pa$$5\n", {"A": "1", "B": "12", "C": "outer", "D": "x", "E": "pa$5"}),
        ("OUT\nNONE\n", {"OUT": "outer"}),
        ("A=", {"A": ""}),
    ],
)
def test_env_files(text: str, values: dict[str, str]) -> None:
    env = parse_env(text, ".env", {"OUT": "outer"})
    assert env.values == values
    assert env.problems == ()


def test_the_process_wins_where_a_value_names_another_variable() -> None:
    assert parse_env("A=file\nB=$A\n", ".env", {"A": "process"}).values["B"] == "process"


@pytest.mark.parametrize(
    ("text", "where"), [("A=1\n= 2\n", ".env:2:1"), ("A B\n", ".env:1:1"), ("A=1\nB='open\nC=2\n", ".env:2:1")]
)
def test_bad_lines_of_env_files(text: str, where: str) -> None:
    assert [str(problem.where) for problem in parse_env(text, ".env", {}).problems] == [where]


@given(st.text("AB='\"\\$ #\n{}x", max_size=40))
def test_any_env_file_is_read(text: str) -> None:
    env = parse_env(text, ".env", {})
    assert set(env.values) <= set(env.positions)
