"""L12. The six kinds of workload. Each docstring says what it can and cannot bring to light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from clusterkit.workloads.base import Expect, Invocation, Workload, WorkloadSpec

if TYPE_CHECKING:  # to read a topology, no checker is needed
    from clusterkit.checkers.base import Checker

_TIME_LIMIT_S = 60.0
_OPENING_BALANCE = 100
_MOST_MOVED = 20


class Register(Workload):
    """Reads, writes and compare-and-sets of many registers; every value is written once.

    Shows: stale reads, lost and reordered writes, split brain: whatever breaks linearizability of one key. Does not
    show: what goes wrong across keys; losses in a system that promises no order (use a set).
    """

    kind = "register"
    summary = "read, write and compare-and-set registers"
    model = "cas-register"
    mix = MappingProxyType({"read": 5, "write": 3, "cas": 2})
    keys = 10
    needs_order = True

    def __init__(self, spec: WorkloadSpec) -> None:
        super().__init__(spec)
        self._last: dict[str | None, int | None] = {}

    def invocation(self, f: str, random: Random, unique: int) -> Invocation:
        key = self.any_object(random)
        if f == "cas":
            return Invocation(f, key, [self._last.get(key), unique])
        return Invocation(f, key, unique if f == "write" else None)

    def seen(self, call: Invocation, result: Any) -> Any:
        """The newest value that anybody saw is what the next compare-and-set expects."""
        written = {"write": call.value, "cas": call.value[1] if call.f == "cas" else None}
        self._last[call.key] = written.get(call.f, result)
        return result

    def checkers(self, expect: Expect) -> tuple[Checker, ...]:
        return _in_order(self.model) if expect.linearizable else ()


class Set(Workload):
    """Adds elements that are all different, reads the whole set now and then, and at the end.

    Shows: acknowledged elements that are lost, doubled, or come from nowhere; stale reads where freshness is promised;
    with `remove` in the mix, elements that are there again after they were removed. Does not show: lost overwrites.
    """

    kind = "set"
    summary = "add unique elements, read them all meanwhile and at the end"
    model = "set"
    mix = MappingProxyType({"add": 24, "read": 1})
    calls = frozenset({"add", "read", "remove"})

    def __init__(self, spec: WorkloadSpec) -> None:
        super().__init__(spec)
        self._elements: dict[int, int] = {}
        self._there: list[Invocation] = []

    def invocation(self, f: str, random: Random, unique: int) -> Invocation:
        if f == "read":
            return Invocation(f, self.any_object(random))
        if f == "remove" and self._there:
            _, key, element = self._there.pop(random.randrange(len(self._there)))
            return Invocation(f, key, element)
        self._elements[unique] = unique
        return Invocation("add", self.any_object(random), unique)

    def seen(self, call: Invocation, result: Any) -> Any:
        """The same elements are read again and again: each number is kept in memory once."""
        if call.f == "read":
            return [self._elements.get(each, each) for each in result]
        if call.f == "add" and "remove" in self.spec.mix:
            self._there.append(call)
        return result

    def checkers(self, expect: Expect) -> tuple[Checker, ...]:
        if expect.linearizable:
            return _in_order(self.model)
        from clusterkit.checkers.lost_writes import SetElements

        return (SetElements(may_lose=expect.may_lose),)


class Counter(Workload):
    """Adds small numbers to a counter, and reads it.

    Shows: lost adds and adds that count twice (a retry that was not safe), once the sum leaves its bounds. Does not
    show: a loss that an unanswered add makes up for.
    """

    kind = "counter"
    summary = "add to a counter and read it"
    model = "counter"
    mix = MappingProxyType({"add": 4, "read": 1})

    def invocation(self, f: str, random: Random, unique: int) -> Invocation:  # noqa: ARG002 - amounts may repeat
        return Invocation(f, self.any_object(random), random.randint(1, 5) if f == "add" else None)

    def checkers(self, expect: Expect) -> tuple[Checker, ...]:
        if expect.linearizable:
            return _in_order(self.model, 0)
        from clusterkit.checkers.totals import CounterBounds

        return (CounterBounds(0, may_lose=expect.may_lose),)


class Queue(Workload):
    """Enqueues elements that are all different, dequeues them, and drains the queue at the end.

    Shows: acknowledged elements that are lost, delivered twice, or come from nowhere; and disorder where the queue is
    to be linearizable. Does not show: how long an element waited.
    """

    kind = "queue"
    summary = "enqueue unique elements, dequeue them, drain at the end"
    model = "queue"
    mix = MappingProxyType({"enqueue": 1, "dequeue": 1})
    needed = frozenset({"dequeue"})
    reads: ClassVar[frozenset[str]] = frozenset()

    def invocation(self, f: str, random: Random, unique: int) -> Invocation:
        return Invocation(f, self.any_object(random), unique if f == "enqueue" else None)

    def last_reads(self) -> Sequence[Invocation]:
        """Each is made again until the queue is empty."""
        return [Invocation("dequeue", key) for key in self.objects()]

    def peeks(self) -> Sequence[str | None]:
        return ()

    def checkers(self, expect: Expect) -> tuple[Checker, ...]:
        if expect.linearizable:
            return _in_order(self.model)
        from clusterkit.checkers.lost_writes import QueueElements

        return (QueueElements(may_lose=expect.may_lose),)


class Bank(Workload):
    """Transfers between accounts, and reads of all accounts at once. `keys` is the number of accounts.

    Shows: money made or lost, a half-done transfer that somebody can see, balances below zero; order where it is
    promised. Does not show: stale views whose sum is right, unless order is promised.
    """

    kind = "bank"
    summary = "transfer between accounts, read all of them at once"
    model = "bank"
    mix = MappingProxyType({"transfer": 1, "read": 1})
    needed = frozenset({"open", "read"})
    keys = 5

    def objects(self) -> Sequence[str | None]:
        return [None]

    def balances(self) -> Mapping[str, int]:
        return {str(number): _OPENING_BALANCE for number in range(self.spec.keys)}

    def opening(self) -> Sequence[Invocation]:
        return [Invocation("open", None, dict(self.balances()))]

    def invocation(self, f: str, random: Random, unique: int) -> Invocation:  # noqa: ARG002 - amounts may repeat
        if f == "read":
            return Invocation(f, None)
        source, target = random.sample(range(self.spec.keys), 2)
        return Invocation(f, None, {"from": str(source), "to": str(target), "amount": random.randint(1, _MOST_MOVED)})

    def checkers(self, expect: Expect) -> tuple[Checker, ...]:
        if expect.linearizable:
            return _in_order(self.model, self.balances())
        from clusterkit.checkers.totals import BankTotals

        return (BankTotals(self.balances()),)


class Ids(Workload):
    """Asks for ids.

    Shows: an id that was given out twice. Does not show: gaps, and ids in the wrong order.
    """

    kind = "ids"
    summary = "ask for unique ids"
    mix = MappingProxyType({"generate": 1})
    needed = frozenset({"generate"})
    reads: ClassVar[frozenset[str]] = frozenset()

    def invocation(self, f: str, random: Random, unique: int) -> Invocation:  # noqa: ARG002 - the system makes them
        return Invocation(f, None)

    def last_reads(self) -> Sequence[Invocation]:
        return ()

    def peeks(self) -> Sequence[str | None]:
        return ()

    def checkers(self, expect: Expect) -> tuple[Checker, ...]:  # noqa: ARG002 - nothing weaker is worth asking for
        from clusterkit.checkers.unique_ids import UniqueIds

        return (UniqueIds(),)


def _in_order(model: str, initial: Any = None) -> tuple[Checker, ...]:
    """All that may judge the model, order and freshness included."""
    from clusterkit.checkers.suite import checkers_for

    return checkers_for(model, initial, time_limit_s=_TIME_LIMIT_S)


KINDS: Mapping[str, type[Workload]] = {
    workload.kind: workload for workload in (Register, Set, Counter, Queue, Bank, Ids)
}
