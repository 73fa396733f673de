"""Every way to judge linearizability agrees with a judge that tries all orders."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.checkers import models
from clusterkit.checkers.base import Validity
from clusterkit.checkers.linearizable import Linearizable
from clusterkit.checkers.search import search
from clusterkit.clock import Deadline
from tests.unit.checkers.histories import OBJECTS, is_linearizable, made

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


@pytest.mark.long
@pytest.mark.parametrize("name", OBJECTS)
@settings(max_examples=20_000, deadline=None)
@given(seed=SEEDS, calls=st.integers(4, 10))
def test_agrees_with_brute_force_on_many(name: str, seed: int, calls: int) -> None:
    _agree(name, seed, calls)
