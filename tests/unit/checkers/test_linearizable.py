"""Every way to judge linearizability agrees with a judge that tries all orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.checkers import models
from clusterkit.checkers.base import Validity
from clusterkit.checkers.linearizable import Linearizable
from clusterkit.checkers.search import search
from clusterkit.clock import Clock, Deadline
from clusterkit.errors import UsageError
from clusterkit.history.history import History
from tests.unit.checkers.histories import OBJECTS, history, is_linearizable, made

MODELS: dict[str, models.Model] = {
    "unique register": models.register(0),
    "unique cas-register": models.cas_register(0),
    "cas-register": models.cas_register(0),
    "kv": models.kv(),
    "growing set": models.grow_set(),
    "set": models.grow_set(),
    "elements": models.grow_set(),
    "unique queue": models.queue(),
    "queue": models.queue(),
    "counter": models.counter(),
    "bank": models.bank({"a": 2, "b": 2}),
}
SEEDS = st.integers(min_value=0, max_value=2**40)


def _agree(name: str, seed: int, calls: int) -> None:
    """The verdict is the brute judge's; the general search's too; and the evidence is illegal by itself."""
    what, model = OBJECTS[name], MODELS[name]
    ops = made(what, seed, calls=calls)
    is_right = is_linearizable(what, ops.calls())
    verdict = Linearizable(model).check(ops)
    if verdict.validity is Validity.UNKNOWN:
        assert verdict.numbers["calls"] == 0
        return
    assert (verdict.validity is Validity.VALID) == is_right, [str(op) for op in ops]
    steps = model.steps(ops.calls())
    assert (search(model, steps, Deadline(60), most=100_000) is None) == is_right
    if not is_right:
        shown = [call for call in ops.calls() if call.start in verdict.indices]
        assert not is_linearizable(what, shown), (verdict, [str(op) for op in ops])


@pytest.mark.parametrize("name", OBJECTS)
@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_agrees_with_brute_force(name: str, seed: int) -> None:
    _agree(name, seed, calls=7)


def test_a_write_of_unknown_outcome_may_hide_another_without_changing_the_value() -> None:
    """Once judged wrongly: w0, r0, w2, the open w0, cas 0 -> 1, r1 is a legal order."""
    _agree("cas-register", seed=2006, calls=10)


@pytest.mark.long
@pytest.mark.parametrize("name", OBJECTS)
@settings(max_examples=20_000, deadline=None)
@given(seed=SEEDS, calls=st.integers(4, 10))
def test_agrees_with_brute_force_on_many(name: str, seed: int, calls: int) -> None:
    _agree(name, seed, calls)


def test_one_hard_key_does_not_starve_the_others() -> None:
    """The hard key alone would take far longer than the limit; the refuted one comes last, and is found."""
    entries: list[tuple[Any, ...]] = []
    for process in range(24):
        entries.append((process, "invoke", "add", 2**process, "hard"))
    entries += [(30, "invoke", "read", None, "hard"), (30, "ok", "read", 2**24, "hard")]
    entries += [(40, "invoke", "add", 1, "easy"), (40, "ok", "add", 1, "easy")]
    entries += [(40, "invoke", "read", None, "easy"), (40, "ok", "read", 7, "easy")]
    entries += [(process, "ok", "add", 2**process, "hard") for process in range(24)]
    verdict = Linearizable(models.counter(), most_configurations=10**9).check(history(*entries))
    assert verdict.validity is Validity.INVALID
    assert verdict.text.startswith("key easy")


def _hard() -> History:
    entries: list[tuple[Any, ...]] = [(process, "invoke", "add", 2**process) for process in range(24)]
    return history(*entries, (30, "invoke", "read", None), (30, "ok", "read", 2**24))


def test_when_the_time_is_over_it_is_unknown() -> None:
    now = iter(range(10_000))
    clock = Clock(monotonic=lambda: float(next(now)))
    verdict = Linearizable(models.counter(), time_limit_s=5, clock=clock).check(_hard())
    assert verdict.validity is Validity.UNKNOWN
    assert "not finished within 5 s" in verdict.text


def test_when_the_memory_is_used_up_it_is_unknown() -> None:
    verdict = Linearizable(models.counter(), most_configurations=5_000).check(_hard())
    assert verdict.validity is Validity.UNKNOWN
    assert "more than 5000 configurations" in verdict.text


def test_a_call_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match='knows no "pop"'):
        Linearizable(models.queue()).check(history((0, "invoke", "pop", None)))


def _sequence(*calls: tuple[str, Any, Any]) -> History:
    return history(*(entry for f, a, r in calls for entry in ((0, "invoke", f, a), (0, "ok", f, r))))


def test_evidence_is_cut_out_of_a_long_history() -> None:
    """Three calls of two thousand, though every value was written many times."""
    calls: list[tuple[str, Any, Any]] = []
    for n in range(1000):
        calls += [("write", n % 5, n % 5), ("read", None, n % 5)]
    verdict = Linearizable(models.register()).check(_sequence(*calls, ("read", None, 3), ("read", None, 4)))
    assert verdict.validity is Validity.INVALID
    assert verdict.indices == (3992, 3993, 3996, 3997, 4000, 4001)
    assert "stale read" in verdict.text
    assert verdict.numbers["longest linearizable prefix"] == 2000
    assert verdict.numbers["evidence is smallest"] is True


def test_evidence_never_drops_a_write_that_is_read() -> None:
    """Without write 1, or write 2, a right read would look wrong; the fault shown has to be the system's."""
    calls = [("write", 1, 1), ("read", None, 1), ("write", 2, 2), ("read", None, 2), ("write", 1, 1), ("read", None, 2)]
    verdict = Linearizable(models.register()).check(_sequence(*calls))
    assert verdict.indices == (4, 5, 8, 9, 10, 11)


def test_an_element_of_a_queue_that_an_unanswered_dequeue_may_have_taken_is_not_missed() -> None:
    entries = [
        (0, "invoke", "enqueue", 1),
        (0, "ok", "enqueue", 1),
        (0, "invoke", "enqueue", 2),
        (0, "ok", "enqueue", 2),
        (1, "invoke", "dequeue", None),
        (1, "info", "dequeue", None),
        (0, "invoke", "dequeue", None),
        (0, "ok", "dequeue", 2),
    ]
    assert Linearizable(models.queue()).check(history(*entries)).validity is Validity.VALID
    assert Linearizable(models.queue()).check(history(*entries[:4], *entries[6:])).validity is Validity.INVALID


def test_a_drain_without_an_answer_may_have_taken_all() -> None:
    entries = [
        (0, "invoke", "enqueue", 1),
        (0, "ok", "enqueue", 1),
        (0, "invoke", "enqueue", 2),
        (0, "ok", "enqueue", 2),
        (1, "invoke", "drain", None),
        (1, "info", "drain", None),
        (0, "invoke", "dequeue", None),
        (0, "ok", "dequeue", 2),
    ]
    assert Linearizable(models.queue()).check(history(*entries)).validity is Validity.VALID
