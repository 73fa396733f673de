"""L11. Sequential models: what an object does when its calls come one after another. Two pure values: init and step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from clusterkit.errors import UsageError
from clusterkit.history.history import OPEN, Call
from clusterkit.history.op import OpType, hashable


class Marker:
    """A value like no other, told by identity."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ILLEGAL: Final = Marker("ILLEGAL")
"""What `step` gives where the model does not allow the call in this state."""

UNKNOWN: Final = Marker("UNKNOWN")
"""The result of a call that nobody saw return."""


class Step(NamedTuple):
    """A call as a model sees it. `argument` and `result` are hashable. `end` is OPEN where it may never take effect."""

    f: str
    argument: Any
    result: Any
    start: int
    end: int
    call: Call


StepFunction = Callable[[Any, str, Any, Any], Any]
"""(state, f, argument, result or UNKNOWN) -> the next state, or ILLEGAL. States are hashable and never changed."""


def _normal(_f: str, value: Any) -> Hashable:
    return hashable(value)


@dataclass(frozen=True)
class Model:
    """A sequential object.

    `fs`: the calls it knows. `reads`: those that change nothing in any state. `overwrites`: those whose next state does
    not depend on the state before. `init`: the state before the first call. `normal`: makes arguments and results
    hashable. `is_sound(kept, removed)`: whether a linearizable history stays so without the writes `removed`; only then
    may evidence be shrunk by them. `group`: calls of one group are tried together when evidence is shrunk.
    """

    name: str
    fs: frozenset[str]
    reads: frozenset[str]
    init: Hashable
    step: StepFunction
    overwrites: frozenset[str] = frozenset()
    normal: Callable[[str, Any], Hashable] = _normal
    is_sound: Callable[[list[Step], list[Step]], bool] | None = None
    group: Callable[[Step], Hashable] | None = None
    split: Callable[[list[Call]], list[Step]] | None = None
    """Makes the steps where one call is several."""

    def may_remove(self, kept: list[Step], removed: list[Step]) -> bool:
        """Reads may always go: what changes no state leaves every other call legal."""
        writes = [step for step in removed if step.f not in self.reads]
        return not writes or (self.is_sound is not None and self.is_sound(kept, writes))

    def steps(self, calls: Iterable[Call]) -> list[Step]:
        """Leaves out what surely had no effect, and reads that nobody saw return: they say nothing.

        Raises: UsageError at a call the model does not know.
        """
        calls = list(calls)
        for call in calls:
            if call.f not in self.fs:
                raise UsageError(
                    f'the model {self.name} knows no "{call.f}" (op {call.start})',
                    mend=f"its calls are {', '.join(sorted(self.fs))}; choose the model that fits",
                )
        if self.split is not None:
            return self.split(calls)
        made = []
        fail = OpType.FAIL
        for call in calls:
            invoke, completion = call
            if completion is None or completion.type is OpType.INFO:
                if invoke.f not in self.reads:
                    argument = self.normal(invoke.f, invoke.value)
                    made.append(Step(invoke.f, argument, UNKNOWN, invoke.index, OPEN, call))
            elif completion.type is not fail:
                argument, result = self.normal(invoke.f, invoke.value), self.normal(invoke.f, completion.value)
                made.append(Step(invoke.f, argument, result, invoke.index, completion.index, call))
        return made


def register(initial: Any = None) -> Model:
    """`write` v, `read` -> v."""
    return replace(cas_register(initial), name="register", fs=frozenset({"read", "write"}))


def cas_register(initial: Any = None) -> Model:
    """`write` v, `read` -> v, `cas` [old, new]: ok only when it swapped, fail when the value was another."""
    return Model(
        "cas-register",
        frozenset({"read", "write", "cas"}),
        frozenset({"read"}),
        hashable(initial),
        _register,
        overwrites=frozenset({"write"}),
        is_sound=_nobody_reads_them,
        group=_written_value,
    )


def _register(state: Any, f: str, argument: Any, result: Any) -> Any:
    if f == "read":
        return state if result == state or result is UNKNOWN else ILLEGAL
    if f == "write":
        return argument
    return argument[1] if argument[0] == state else ILLEGAL


def _nobody_reads_them(kept: list[Step], removed: list[Step]) -> bool:
    """Without a write whose value no remaining call reads, the calls after it, up to the next write, are none: any of
    them would have to read that value. So the rest of a legal order is still legal. The counterexample that forbids
    more: without write 2, "write 1, write 2, read 2" turns illegal though it was right.
    """
    gone = {step.argument[1] if step.f == "cas" else step.argument for step in removed}
    return not any((step.argument[0] if step.f == "cas" else step.result) in gone for step in kept if step.f != "write")


def _written_value(step: Step) -> Hashable:
    if step.f == "cas":
        return (step.argument[1],)
    return (step.result if step.f == "read" else step.argument,)


def kv(initial: Any = "") -> Model:
    """One key's string: `put` v, `append` v, `get` -> v. Nothing and the empty string are the same."""
    return Model(
        "kv",
        frozenset({"put", "append", "get"}),
        frozenset({"get"}),
        initial or "",
        _kv,
        overwrites=frozenset({"put"}),
        normal=lambda _f, value: "" if value is None else hashable(value),
        is_sound=_nobody_sees_them,
    )


def _kv(state: Any, f: str, argument: Any, result: Any) -> Any:
    if f == "get":
        return state if result == state or result is UNKNOWN else ILLEGAL
    return argument if f == "put" else state + argument


def _nobody_sees_them(kept: list[Step], removed: list[Step]) -> bool:
    """Every get after a call of `removed`, up to the next put, would show its text; where no remaining get has the text
    in it, there is no such get, and nobody misses the call. The empty text shows nowhere, so it stays.
    """
    seen = [step.result for step in kept if step.f == "get"]
    return all(step.argument and not any(step.argument in result for result in seen) for step in removed)


def grow_set(initial: Iterable[Any] = ()) -> Model:
    """`add` x, `remove` x, `contains` x -> bool, `read` -> all elements. What add and remove return is not judged."""
    return Model(
        "set",
        frozenset({"add", "remove", "contains", "read"}),
        frozenset({"contains", "read"}),
        frozenset(hashable(item) for item in initial),
        _set,
        normal=_set_normal,
    )


def element(is_present: bool) -> Model:
    """One element of a set, as `contains` sees it: the elements of a set are objects of their own."""
    fs = frozenset({"add", "remove", "contains"})
    overwrites = frozenset({"add", "remove"})
    return Model("set", fs, frozenset({"contains"}), is_present, _element, overwrites=overwrites)


def _element(state: Any, f: str, _argument: Any, result: Any) -> Any:
    if f == "contains":
        return state if result is UNKNOWN or bool(result) == state else ILLEGAL
    return f == "add"


def _set_normal(f: str, value: Any) -> Hashable:
    if f != "read":
        return hashable(value)
    try:
        return frozenset(value or ())
    except TypeError:
        return frozenset(hashable(item) for item in value)


def _set(state: Any, f: str, argument: Any, result: Any) -> Any:
    if f == "add":
        return state | {argument}
    if f == "remove":
        return state - {argument}
    if result is UNKNOWN or result == (state if f == "read" else argument in state):
        return state
    return ILLEGAL


def queue(initial: Iterable[Any] = ()) -> Model:
    """First in, first out: `enqueue` x, `dequeue` -> x, or nothing where it is empty.

    `drain` -> [x, y, ...] is that many dequeues, each at some moment of the call.
    """
    return Model(
        "queue",
        frozenset({"enqueue", "dequeue", "drain"}),
        frozenset(),
        tuple(hashable(item) for item in initial),
        _queue,
        is_sound=_whole_elements,
        group=lambda step: (step.argument if step.f == "enqueue" else step.result,),
        split=_dequeues,
    )


def _dequeues(calls: list[Call]) -> list[Step]:
    """Times are stretched, so that each dequeue of a drain has a start and an end of its own, in the drain's order.

    A drain of unknown outcome may have taken everything: it counts as one dequeue of unknown outcome per element.
    """
    enqueues = sum(call.f == "enqueue" for call in calls)
    taken = {
        call.start: list(call.result or ()) if call.is_ok else [UNKNOWN] * enqueues
        for call in calls
        if call.f == "drain"
    }
    stretch = max(map(len, taken.values()), default=0) + 1
    made = []
    for call in calls:
        if call.outcome is OpType.FAIL:
            continue
        results = taken.get(call.start, [call.result if call.is_ok else UNKNOWN])
        f = "dequeue" if call.f == "drain" else call.f
        for place, result in enumerate(results):
            end = OPEN if call.is_open else call.end * stretch + place
            made.append(Step(f, hashable(call.argument), hashable(result), call.start * stretch + place, end, call))
    return made


def _queue(state: Any, f: str, argument: Any, result: Any) -> Any:
    if f == "enqueue":
        return (*state, argument)
    if result is UNKNOWN:
        return state[1:]
    if result is None:
        return ILLEGAL if state else state
    return state[1:] if state and state[0] == result else ILLEGAL


def _whole_elements(kept: list[Step], removed: list[Step]) -> bool:
    """An element that goes with its enqueue and its dequeue leaves the order of the others as it was."""
    if any(step.result is UNKNOWN for step in (*kept, *removed) if step.f == "dequeue"):
        return False  # what it took is not known, so no element is surely whole
    gone = {step.argument if step.f == "enqueue" else step.result for step in removed} - {None}
    return not any((step.argument if step.f == "enqueue" else step.result) in gone for step in kept)


def counter(initial: int = 0) -> Model:
    """`add` n (1 where no number is given, and below zero to take away), `read` -> n."""
    return Model("counter", frozenset({"add", "read"}), frozenset({"read"}), initial, _counter)


def _counter(state: Any, f: str, argument: Any, result: Any) -> Any:
    if f == "read":
        return state if result == state or result is UNKNOWN else ILLEGAL
    return state + (1 if argument is None else argument)


def bank(initial: Mapping[Any, int], *, may_owe: bool = False) -> Model:
    """`transfer` {from, to, amount}, `read` -> {account: balance}. No balance falls below zero, unless `may_owe`."""

    def step(state: Any, f: str, argument: Any, result: Any) -> Any:
        if f == "read":
            return state if result == state or result is UNKNOWN else ILLEGAL
        asked = dict(argument)
        balances = dict(state)
        source, target = str(asked["from"]), str(asked["to"])
        if source not in balances or target not in balances:
            return ILLEGAL
        balances[source] -= asked["amount"]
        balances[target] += asked["amount"]
        return ILLEGAL if balances[source] < 0 and not may_owe else _accounts(balances)

    def normal(f: str, value: Any) -> Hashable:
        return _accounts(value) if f == "read" and isinstance(value, Mapping) else hashable(value)

    return Model("bank", frozenset({"transfer", "read"}), frozenset({"read"}), _accounts(initial), step, normal=normal)


def _accounts(balances: Mapping[Any, int]) -> tuple[tuple[str, int], ...]:
    """Account names as text: JSON has no other keys."""
    return tuple(sorted((str(account), balance) for account, balance in balances.items()))
