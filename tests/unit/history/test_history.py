"""The record: order, pairing, retirement of processes."""

from __future__ import annotations

import pytest

from clusterkit.errors import UsageError
from clusterkit.history.history import OPEN, History, by_key
from clusterkit.history.op import NEMESIS, Op, OpType, hashable
from tests.unit.checkers.histories import history

INVOKE, OK, FAIL, INFO = OpType


def test_invokes_are_paired_with_their_completions() -> None:
    made = history((0, "invoke", "write", 1), (1, "invoke", "read", None), (1, "ok", "read", 1), (0, "ok", "write", 1))
    write, read = made.calls()
    assert (write.start, write.end, write.outcome, write.argument) == (0, 3, OK, 1)
    assert (read.start, read.end, read.result, read.indices) == (1, 2, 1, (1, 2))


@pytest.mark.parametrize("entries", [[], [(0, "info", "write", 1)]], ids=["unpaired", "info"])
def test_a_call_that_nobody_saw_end_stays_open(entries: list[tuple[object, ...]]) -> None:
    (call,) = history((0, "invoke", "write", 1), *entries).calls()
    assert (call.end, call.is_open, call.outcome, call.result) == (OPEN, True, INFO, None)


def test_facts_are_no_calls() -> None:
    made = history((NEMESIS, "info", "inject", None, "kill-1"), (0, "invoke", "read", None))
    assert [call.f for call in made.calls()] == ["read"]
    assert [op.key for op in made.facts()] == ["kill-1"]


def test_calls_are_chosen_by_what_they_do_and_parted_by_key() -> None:
    made = history(
        (0, "invoke", "add", 1, "x"),
        (0, "ok", "add", 1, "x"),
        (0, "invoke", "read", None, "y"),
        (0, "ok", "read", [], "y"),
    )
    assert [call.f for call in made.calls("read")] == ["read"]
    assert {key: len(calls) for key, calls in by_key(made.calls()).items()} == {"x": 1, "y": 1}


@pytest.mark.parametrize(
    ("ops", "says"),
    [
        ([Op(1, 0, INVOKE, "read")], "index 1, but 0 was expected"),
        ([Op(0, 0, OK, "read")], "has no call under way"),
        ([Op(0, 0, INVOKE, "read"), Op(1, 0, INVOKE, "read")], "has not completed"),
        ([Op(0, 0, INVOKE, "read"), Op(1, 0, OK, "write")], "completes write"),
        (
            [Op(0, 0, INVOKE, "read", "x"), Op(1, 0, OK, "read", "y")],
            "of key y, but the call under way is read of key x",
        ),
        (
            [Op(0, 0, INVOKE, "read"), Op(1, 0, INFO, "read"), Op(2, 0, INVOKE, "read")],
            "retired with the info at index 1",
        ),
        ([Op(0, NEMESIS, INVOKE, "inject")], "is no client"),
    ],
)
def test_what_breaks_the_rules_is_refused(ops: list[Op], says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        History(ops)
    assert raised.value.mend


def test_a_process_goes_on_after_fail() -> None:
    made = history((0, "invoke", "read", None), (0, "fail", "read", None), (0, "invoke", "read", None))
    assert [call.outcome for call in made.calls()] == [FAIL, INFO]


def test_a_call_is_told_in_one_line() -> None:
    (call,) = history((3, "invoke", "write", 5, "x"), (3, "ok", "write", 5, "x")).calls()
    assert str(call) == "[0..1] process 3: key x write 5 -> ok  (0.000..0.001 s)"


def test_values_become_hashable() -> None:
    assert hashable({"b": [1, {2}], "a": None}) == (("a", None), ("b", (1, frozenset({2}))))
    with pytest.raises(ValueError, match="bytearray"):
        hashable(bytearray())
