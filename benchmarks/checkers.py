"""What the checkers cost: CPU seconds (median) and memory. `python -m benchmarks.checkers [WORD...]`.

Histories are made by clients of a correct object, with calls that overlap and a few without an answer, so each is
valid: the worst case, for nothing ends early.
"""

from __future__ import annotations

import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

from clusterkit.checkers import models
from clusterkit.checkers.base import Checker
from clusterkit.checkers.linearizable import Linearizable
from clusterkit.checkers.lost_writes import SetElements
from clusterkit.history.history import History
from clusterkit.history.op import Op, OpType

_RUNS = 3

Ask = Callable[[Random, int], tuple[str, Any, Any]]
"""(chance, number of the call) -> f, key, argument."""
Apply = Callable[[dict[Any, Any], str, Any, Any], Any]
"""(state by key, f, key, argument) -> result; changes the state."""


def overlapping(count: int, clients: int, ask: Ask, apply: Apply, *, unanswered: float = 0.002) -> History:
    """`count` calls. Each takes effect at a moment of its own between its invoke and its completion."""
    random = Random(7)  # noqa: S311  the same history each time
    state: dict[Any, Any] = {}
    history = History()
    idle = list(range(clients))
    fresh = clients
    under_way: list[list[Any]] = []
    asked = 0

    def tell(process: int, kind: OpType, f: str, key: Any, value: Any) -> None:
        history.append(Op(len(history), process, kind, f, key, value, len(history) * 100_000))

    while asked < count or under_way:
        if idle and asked < count and (not under_way or random.random() < 0.5):
            f, key, argument = ask(random, asked)
            process = idle.pop(random.randrange(len(idle)))
            tell(process, OpType.INVOKE, f, key, argument)
            under_way.append([process, f, key, argument, False, None])
            asked += 1
            continue
        at = random.randrange(len(under_way))
        call = under_way[at]
        process, f, key, argument, has_effect, result = call
        if not has_effect:
            call[4:] = [True, apply(state, f, key, argument)]
            continue
        del under_way[at]
        if random.random() < unanswered:
            tell(process, OpType.INFO, f, key, None)
            idle.append(fresh)
            fresh += 1
        else:
            tell(process, OpType.OK, f, key, result)
            idle.append(process)
    return history


def _register(state: dict[Any, Any], f: str, key: Any, argument: Any) -> Any:
    if f == "write":
        state[key] = argument
        return argument
    return state.get(key)


def _set(state: dict[Any, Any], f: str, _key: Any, argument: Any) -> Any:
    if f == "read":
        return list(state)
    state[argument] = None
    return argument


def _counter(state: dict[Any, Any], f: str, _key: Any, argument: Any) -> Any:
    if f == "add":
        state[0] = state.get(0, 0) + argument
        return argument
    return state.get(0, 0)


def _queue(state: dict[Any, Any], f: str, _key: Any, argument: Any) -> Any:
    if f == "enqueue":
        state[argument] = None
        return argument
    first = next(iter(state), None)
    state.pop(first, None)
    return first


def unique_register(count: int, keys: int) -> History:
    def ask(random: Random, n: int) -> tuple[str, Any, Any]:
        key = random.randrange(keys)
        return ("read", key, None) if random.random() < 0.5 else ("write", key, n)

    return overlapping(count, 10, ask, _register)


def five_values(count: int, clients: int, unanswered: float) -> History:
    def ask(random: Random, _n: int) -> tuple[str, Any, Any]:
        return ("read", None, None) if random.random() < 0.5 else ("write", None, random.randrange(5))

    return overlapping(count, clients, ask, _register, unanswered=unanswered)


def counted(count: int) -> History:
    def ask(random: Random, _n: int) -> tuple[str, Any, Any]:
        return ("read", None, None) if random.random() < 0.5 else ("add", None, random.randrange(1, 5))

    return overlapping(count, 5, ask, _counter, unanswered=0.0005)


def queued(count: int) -> History:
    def ask(random: Random, n: int) -> tuple[str, Any, Any]:
        return ("enqueue", None, n) if random.random() < 0.5 else ("dequeue", None, None)

    return overlapping(count, 10, ask, _queue, unanswered=0)


def elements(count: int) -> History:
    def ask(_random: Random, n: int) -> tuple[str, Any, Any]:
        is_read = n % (count // 4) == count // 4 - 1
        return ("read", None, None) if is_read else ("add", None, n)

    return overlapping(count, 10, ask, _set, unanswered=0.0001)


def _linearizable(model: models.Model) -> Linearizable:
    return Linearizable(model, time_limit_s=60)


_REGISTER = _linearizable(models.register())
_COUNTER = _linearizable(models.counter())


CASES: dict[str, tuple[Callable[[], History], Checker]] = {
    "register, unique values, 10 000 calls, 1 key": (lambda: unique_register(10_000, 1), _REGISTER),
    "register, unique values, 100 000 calls, 100 keys": (
        lambda: unique_register(100_000, 100), _REGISTER,
    ),
    "register, 5 values, 10 000 calls, 5 clients": (lambda: five_values(10_000, 5, 0.0), _REGISTER),
    "register, 5 values, 10 000 calls, 5 clients, 50 unanswered": (
        lambda: five_values(10_000, 5, 0.005), _REGISTER,
    ),
    "register, 5 values, 10 000 calls, 10 clients, 50 unanswered": (
        lambda: five_values(10_000, 10, 0.005), _REGISTER,
    ),
    "counter, search, 10 000 calls, 5 clients, 5 unanswered": (lambda: counted(10_000), _COUNTER),
    "queue, unique values, 100 000 calls": (lambda: queued(100_000), _linearizable(models.queue())),
    "set, 1 000 000 elements, 4 reads: lost and stale": (lambda: elements(1_000_000), SetElements(must_be_fresh=True)),
    "set, 1 000 000 elements, 4 reads: linearizable": (lambda: elements(1_000_000), _linearizable(models.grow_set())),
}  # fmt: skip


def main(words: list[str]) -> None:
    print(f"{'case':62} {'verdict':8} {'CPU s':>9} {'peak MB':>8}")
    for name, (make, checker) in CASES.items():
        if not all(word in name for word in words):
            continue
        history = make()
        runs = []
        for _ in range(_RUNS):
            begun = time.process_time()
            verdict = checker.check(history)
            runs.append(time.process_time() - begun)
        tracemalloc.start()
        checker.check(history)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        print(f"{name:62} {verdict.validity.value:8} {statistics.median(runs):9.3f} {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
