"""Workloads: what clients call is a function of the seed, every value is written once, and each kind is judged."""

from __future__ import annotations

from random import Random

import pytest

from clusterkit.components.base import KINDS as WORDS
from clusterkit.workloads.base import Expect, Invocation, Workload, WorkloadSpec
from clusterkit.workloads.kinds import KINDS


def _workload(kind: str, keys: int | None = None, **more: object) -> Workload:
    made = KINDS[kind]
    return made(WorkloadSpec(kind, "kv", keys or made.keys, dict(made.mix), **more))  # type: ignore[arg-type]


def _calls(workload: Workload, seed: int, count: int = 400) -> list[Invocation]:
    chance = Random(seed)
    return [workload.next(chance, number) for number in range(1, count + 1)]


def test_there_is_one_for_every_kind_that_components_speak() -> None:
    assert tuple(KINDS) == WORDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: str) -> None:
    assert _calls(_workload(kind), 1) == _calls(_workload(kind), 1)
    if len(KINDS[kind].mix) > 1:
        assert _calls(_workload(kind), 1) != _calls(_workload(kind), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mix_is_kept(kind: str) -> None:
    calls = _calls(_workload(kind), 3, 5000)
    whole = sum(KINDS[kind].mix.values())
    for f, share in KINDS[kind].mix.items():
        assert sum(call.f == f for call in calls) == pytest.approx(5000 * share / whole, rel=0.15)


@pytest.mark.parametrize(("kind", "f"), [("register", "write"), ("set", "add"), ("queue", "enqueue")])
def test_every_value_is_written_once(kind: str, f: str) -> None:
    values = [call.value for call in _calls(_workload(kind), 4) if call.f == f]
    assert len(values) == len(set(values)) > 50


def test_a_swap_expects_what_was_seen_last() -> None:
    register = _workload("register", keys=1)
    register.seen(Invocation("write", None, 7), None)
    assert register.invocation("cas", Random(1), 9).value == [7, 9]
    register.seen(Invocation("cas", None, [7, 9]), None)
    assert register.invocation("cas", Random(1), 10).value == [9, 10]
    register.seen(Invocation("read", None), 3)
    assert register.invocation("cas", Random(1), 11).value == [3, 11]


def test_only_what_is_there_is_removed_and_only_once() -> None:
    made = KINDS["set"](WorkloadSpec("set", "kv", 2, {"add": 1, "remove": 1}))
    chance = Random(5)
    added: list[Invocation] = []
    removed: list[Invocation] = []
    for number in range(1, 400):
        call = made.next(chance, number)
        (added if call.f == "add" else removed).append(call)
        if number % 3:
            made.seen(call, None)
    assert len(removed) > 50
    there = {(call.key, call.value) for call in added}
    assert all((call.key, call.value) in there for call in removed)
    assert len({call.value for call in removed}) == len(removed)


def test_a_set_remembers_each_element_once() -> None:
    made = _workload("set")
    call = made.invocation("add", Random(1), 123_456)
    made.seen(call, None)
    first = made.seen(Invocation("read", None), [int("123456")])
    second = made.seen(Invocation("read", None), [int("123456")])
    assert first[0] is second[0] is call.value


def test_a_transfer_is_between_two_accounts() -> None:
    made = _workload("bank", keys=3)
    transfers = [call.value for call in _calls(made, 6) if call.f == "transfer"]
    assert all(one["from"] != one["to"] and one["amount"] > 0 for one in transfers)
    assert {one["from"] for one in transfers} == {"0", "1", "2"}
    assert made.opening() == [Invocation("open", None, {"0": 100, "1": 100, "2": 100})]


def test_keys_are_named_where_there_are_several() -> None:
    assert {call.key for call in _calls(_workload("register", keys=3), 7)} == {"0", "1", "2"}
    assert {call.key for call in _calls(_workload("register", keys=1), 7)} == {None}
    assert [call.key for call in _workload("queue", keys=2).last_reads()] == ["0", "1"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_judged_by_order_and_without(kind: str) -> None:
    made = _workload(kind)
    strict = {checker.name for checker in made.checkers(Expect(linearizable=True))}
    loose = {checker.name for checker in made.checkers(Expect())}
    assert ("linearizable" in strict) == (kind != "ids")
    assert "linearizable" not in loose
    assert loose or made.needs_order
