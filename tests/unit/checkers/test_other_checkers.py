"""Sets, queues, counters, banks, ids, replicas, availability: by cases, and against the definition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.checkers.availability import Availability
from clusterkit.checkers.base import Checker, Validity, Verdict, combine, judge, some
from clusterkit.checkers.convergence import Convergence
from clusterkit.checkers.lost_writes import QueueElements, SetElements
from clusterkit.checkers.suite import CLAIMS, MODELS, checkers_for
from clusterkit.checkers.totals import BankTotals, CounterBounds
from clusterkit.checkers.unique_ids import UniqueIds
from clusterkit.errors import UsageError
from clusterkit.history.history import History
from clusterkit.history.op import NEMESIS, OBSERVER, Op, OpType
from tests.unit.checkers.histories import OBJECTS, history, is_linearizable, made

VALID, INVALID, UNKNOWN = Validity
SEEDS = st.integers(min_value=0, max_value=2**40)


def _sequence(*calls: tuple[str, Any, Any]) -> History:
    return history(*(entry for f, a, r in calls for entry in ((0, "invoke", f, a), (0, "ok", f, r))))


# --- verdicts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "whole"),
    [((VALID,), VALID), ((VALID, UNKNOWN), UNKNOWN), ((UNKNOWN, INVALID, VALID), INVALID), ((), UNKNOWN)],
)
def test_invalid_outranks_unknown_outranks_valid(parts: tuple[Validity, ...], whole: Validity) -> None:
    verdicts = [Verdict(str(n), each, f"{each} {n}", (f"line {n}",), (n,)) for n, each in enumerate(parts)]
    combined = combine("all", verdicts)
    assert combined.validity is whole
    assert combined.indices == tuple(n for n, each in enumerate(parts) if each is whole)


def test_a_checker_that_breaks_is_unknown() -> None:
    class Broken:
        name = "broken"

        def check(self, history: History) -> Verdict:
            raise KeyError(len(history))

    verdict = judge(Broken(), history())
    assert (verdict.validity, verdict.text) == (UNKNOWN, "the checker broke: KeyError: 0")


def test_some_says_how_many_more() -> None:
    assert some(range(3)) == "0, 1, 2"
    assert some(range(9), most=2) == "0, 1 and 7 more"


# --- against the definition --------------------------------------------------------------------------------------


def _set_by_definition(ops: History) -> dict[str, int]:
    """For each element: which reads began after it was known, and which of them miss it."""
    reads = [call for call in ops.calls("read") if call.is_ok]
    found = {"lost": 0, "stale": 0, "unexpected": 0, "never read": 0, "recovered": 0}
    adds = {call.argument: call for call in ops.calls("add")}
    for value, add in adds.items():
        shows = [read for read in reads if value in read.result]
        if add.outcome is OpType.FAIL:
            found["unexpected"] += bool(shows)
            continue
        known = min([read.end for read in shows] + ([add.end] if add.is_ok else []), default=None)
        if known is None:
            continue
        after = [read for read in reads if read.start > known]
        missing = [read for read in after if value not in read.result]
        found["recovered"] += bool(shows) and not add.is_ok
        found["never read"] += not after and not shows
        is_lost = bool(after) and value not in after[-1].result
        found["lost"] += is_lost
        found["stale"] += bool(missing) and not is_lost
    found["unexpected"] += len({value for read in reads for value in read.result if value not in adds})
    return found


@settings(max_examples=500, deadline=None)
@given(seed=SEEDS, calls=st.integers(4, 14))
def test_elements_of_a_set_meet_the_same_fate_as_by_definition(seed: int, calls: int) -> None:
    ops = made(OBJECTS["growing set"], seed, calls=calls)
    verdict = SetElements(must_be_fresh=True).check(ops)
    expected = _set_by_definition(ops)
    if verdict.validity is not UNKNOWN:
        assert {name: verdict.numbers[name] for name in expected} == expected
        bad = sum(expected[name] for name in ("lost", "stale", "unexpected"))
        assert (verdict.validity is INVALID) == bool(bad)


QUICK: dict[str, Checker] = {
    "growing set": SetElements(must_be_fresh=True),
    "set": SetElements(must_be_fresh=True),
    "unique queue": QueueElements(),
    "queue": QueueElements(),
    "counter": CounterBounds(),
    "bank": BankTotals({"a": 2, "b": 2}),
}


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_what_is_linearizable_is_never_refuted(name: str, seed: int) -> None:
    ops = made(OBJECTS[name], seed, calls=8)
    if is_linearizable(OBJECTS[name], ops.calls()):
        assert QUICK[name].check(ops).validity is not INVALID


# --- by cases ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "kind"),
    [
        ([("add", 1, 1), ("read", None, [])], "lost"),
        ([("add", 1, 1), ("read", None, []), ("read", None, [1])], "stale"),
        ([("add", 1, 1), ("read", None, [1, 1])], "duplicated"),
        ([("add", 1, 1), ("read", None, [1, 2])], "unexpected"),
        ([("add", 1, 1), ("remove", 1, 1), ("read", None, [1])], "resurrected"),
    ],
)
def test_what_becomes_of_an_element(calls: list[tuple[str, Any, Any]], kind: str) -> None:
    verdict = SetElements(must_be_fresh=True).check(_sequence(*calls))
    assert verdict.validity is INVALID
    kinds = ("lost", "stale", "duplicated", "unexpected", "resurrected")
    assert {name: verdict.numbers[name] for name in kinds} == {name: int(name == kind) for name in kinds}
    assert verdict.evidence[0].startswith(kind)


def test_a_removed_element_may_be_gone() -> None:
    calls = [("add", 1, 1), ("read", None, [1]), ("remove", 1, 1), ("read", None, [])]
    assert SetElements(must_be_fresh=True).check(_sequence(*calls)).validity is VALID


def test_stale_elements_are_allowed_unless_they_must_be_fresh() -> None:
    ops = _sequence(("add", 1, 1), ("read", None, []), ("read", None, [1]))
    verdict = SetElements().check(ops)
    assert (verdict.validity, verdict.numbers["stale"]) == (VALID, 1)


def test_each_key_is_a_set_of_its_own() -> None:
    ops = history(
        (0, "invoke", "add", 1, "x"),
        (0, "ok", "add", 1, "x"),
        (0, "invoke", "read", None, "x"),
        (0, "ok", "read", [1], "x"),
        (0, "invoke", "add", 1, "y"),
        (0, "ok", "add", 1, "y"),
        (0, "invoke", "read", None, "y"),
        (0, "ok", "read", [], "y"),
    )
    verdict = SetElements().check(ops)
    assert (verdict.validity, verdict.text, verdict.numbers["attempted"]) == (INVALID, "key y: 1 lost: 1", 2)


@pytest.mark.parametrize(
    ("calls", "kind"),
    [
        ([("enqueue", 1, 1), ("dequeue", None, None)], "lost"),
        ([("enqueue", 1, 1), ("drain", None, [])], "lost"),
        ([("enqueue", 1, 1), ("drain", None, [1, 1])], "duplicated"),
        ([("dequeue", None, 1)], "unexpected"),
        ([("enqueue", 2, 2), ("drain", None, [2, 1])], "unexpected"),
    ],
)
def test_what_becomes_of_an_element_of_a_queue(calls: list[tuple[str, Any, Any]], kind: str) -> None:
    verdict = QueueElements().check(_sequence(("enqueue", 9, 9), ("dequeue", None, 9), *calls))
    assert verdict.validity is INVALID
    kinds = ("lost", "duplicated", "unexpected")
    assert {name: verdict.numbers[name] for name in kinds} == {name: int(name == kind) for name in kinds}


def test_a_dequeue_without_an_answer_may_have_taken_an_element() -> None:
    ops = history(
        (0, "invoke", "enqueue", 1),
        (0, "ok", "enqueue", 1),
        (1, "invoke", "dequeue", None),
        (1, "info", "dequeue", None),
        (0, "invoke", "dequeue", None),
        (0, "ok", "dequeue", None),
    )
    verdict = QueueElements().check(ops)
    assert (verdict.validity, verdict.numbers["taken unseen"]) == (VALID, 1)


def test_a_drain_without_an_answer_makes_losses_unknown() -> None:
    ops = history(
        (0, "invoke", "enqueue", 1), (0, "ok", "enqueue", 1), (1, "invoke", "drain", None), (1, "info", "drain", None),
        (0, "invoke", "dequeue", None), (0, "ok", "dequeue", None),
    )  # fmt: skip
    assert QueueElements().check(ops).validity is UNKNOWN


def test_a_counter_may_or_may_not_show_adds_under_way() -> None:
    for result, validity in ((0, INVALID), (1, VALID), (3, VALID), (4, INVALID)):
        ops = history(
            (0, "invoke", "add", 1), (0, "ok", "add", 1), (1, "invoke", "add", 2), (2, "invoke", "read", None),
            (2, "ok", "read", result), (1, "info", "add", 2),
        )  # fmt: skip
        assert CounterBounds().check(ops).validity is validity


def test_a_counter_that_goes_down_has_its_bounds_the_other_way_round() -> None:
    ops = history((0, "invoke", "add", -2), (1, "invoke", "read", None), (1, "ok", "read", 5), (0, "ok", "add", -2))
    assert CounterBounds(initial=5).check(ops).validity is VALID
    assert CounterBounds(initial=8).check(ops).validity is INVALID


@pytest.mark.parametrize(
    ("read", "says"),
    [({"a": 5, "b": 4}, "sums to 9"), ({"a": 10}, "differ in: b"), ({"a": 11, "b": -1}, "shows b at -1")],
)
def test_money_is_neither_made_nor_lost(read: dict[str, int], says: str) -> None:
    verdict = BankTotals({"a": 5, "b": 5}).check(_sequence(("read", None, read)))
    assert verdict.validity is INVALID
    assert says in verdict.text


def test_without_initial_balances_the_first_read_sets_the_total() -> None:
    ops = _sequence(("read", None, {"a": 5}), ("read", None, {"a": 6}))
    verdict = BankTotals().check(ops)
    assert (verdict.validity, len(verdict.evidence)) == (INVALID, 2)


def test_ids_are_unique() -> None:
    assert UniqueIds().check(_sequence(("generate", None, 1), ("generate", None, 2))).validity is VALID
    verdict = UniqueIds().check(_sequence(*[("generate", None, n) for n in (1, 2, 1)]))
    assert (verdict.validity, verdict.indices) == (INVALID, (0, 1, 4, 5))
    assert UniqueIds().check(history((0, "invoke", "generate", None))).validity is UNKNOWN


def _reads(*answers: tuple[str, Any], after: list[Op] | None = None) -> History:
    made = History(after or [])
    for node, value in answers:
        for kind in (OpType.INVOKE, OpType.OK):
            made.append(Op(len(made), 0, kind, "read", "x", value if kind is OpType.OK else None, node=node))
    return made


def test_replicas_agree_or_not() -> None:
    assert Convergence().check(_reads(("n1", 1), ("n2", 1))).validity is VALID
    verdict = Convergence().check(_reads(("n1", 1), ("n2", 2)))
    assert (verdict.validity, verdict.indices) == (INVALID, (0, 1, 2, 3))
    assert Convergence().check(_reads(("n1", [1, 2]), ("n2", [2, 1]))).validity is INVALID
    assert Convergence(is_set=True).check(_reads(("n1", [1, 2]), ("n2", [2, 1]))).validity is VALID
    assert Convergence().check(_reads(("n1", 1))).validity is UNKNOWN


def test_only_reads_after_the_last_heal_and_write_are_final() -> None:
    apart = list(_reads(("n1", 1), ("n2", 2)))
    heal = Op(len(apart), NEMESIS, OpType.INFO, "heal", "partition-1")
    assert Convergence().check(_reads(("n1", 2), ("n2", 2), after=[*apart, heal])).validity is VALID
    assert Convergence().check(History([*apart, heal])).validity is UNKNOWN


def _at(second: float, process: int | str, kind: str, f: str, key: Any = None, value: Any = None) -> tuple[Any, ...]:
    return second, process, kind, f, key, value


def _timed(*entries: tuple[Any, ...]) -> History:
    return History(
        Op(index, process, OpType(kind), f, key, value, int(second * 1e9))
        for index, (second, process, kind, f, key, value) in enumerate(entries)
    )


OUTAGE = _timed(
    _at(0, 0, "invoke", "read"), _at(0.1, 0, "ok", "read"),
    _at(1, NEMESIS, "info", "inject", "kill-1"),
    _at(1.2, 0, "invoke", "read"), _at(1.5, 0, "fail", "read"),
    _at(2, OBSERVER, "info", "leader", "store", "store-2"),
    _at(2, 0, "invoke", "read"), _at(3.2, 0, "ok", "read"),
    _at(4, NEMESIS, "info", "heal", "kill-1"),
    _at(9, 0, "invoke", "read"), _at(9.1, 0, "ok", "read"),
)  # fmt: skip


def test_the_longest_time_without_an_ok_counts_only_while_something_was_tried() -> None:
    verdict = Availability().check(OUTAGE)
    assert (verdict.validity, verdict.numbers["longest time without an ok, s"]) == (VALID, 2.0)


def test_each_fault_has_its_times() -> None:
    fault = Availability().check(OUTAGE).numbers["faults"]["kill-1"]
    expected = {"from_s": 1, "to_s": 4, "first error": 0.5, "new leader": 1.0, "gone": 2.0, "back": 2.2}
    assert fault == pytest.approx(expected)


def test_too_long_an_outage_is_invalid_where_a_limit_is_set() -> None:
    assert Availability(at_most_s=1).check(OUTAGE).validity is INVALID
    assert Availability(at_most_s=3).check(OUTAGE).validity is VALID
    assert Availability().check(_timed(_at(0, 0, "invoke", "read"))).validity is UNKNOWN


# --- which checkers judge which model ----------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_checkers(model: str) -> None:
    assert checkers_for(model)


@pytest.mark.parametrize(
    ("model", "initial"), [("set", 5), ("counter", "five"), ("bank", [1]), ("kv", 7), ("queue", "ab"), ("stack", None)]
)
def test_what_makes_no_sense_is_refused(model: str, initial: Any) -> None:
    with pytest.raises(UsageError) as raised:
        checkers_for(model, initial)
    assert raised.value.mend


def test_durability_alone_says_nothing_of_a_register() -> None:
    with pytest.raises(UsageError, match="durability"):
        checkers_for("register", claim=CLAIMS[1])
