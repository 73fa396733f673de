"""Makes small histories, right and wrong, and judges them by trying every order: slow, simple, and nothing shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from clusterkit.history.history import OPEN, Call, History
from clusterkit.history.op import Op, OpType

Apply = Callable[[Any, str, Any], tuple[Any, Any]]
"""(state, f, argument) -> (next state, result) of the object itself."""


def history(*entries: tuple[Any, ...]) -> History:
    """From (process, type, f, value) or (process, type, f, value, key); a ms passes between two of them."""
    made = History()
    for index, (process, kind, f, value, *key) in enumerate(entries):
        made.append(Op(index, process, OpType(kind), f, key[0] if key else None, value, index * 1_000_000))
    return made


def register(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "read":
        return state, state
    if f == "write":
        return argument, None
    return (argument[1], True) if argument[0] == state else (state, False)


def kv(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    return {"get": (state, state), "put": (argument, None), "append": (state + (argument or ""), None)}[f]


def whole_set(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "read":
        return state, sorted(state)
    if f == "contains":
        return state, argument in state
    return (state | {argument}, None) if f == "add" else (state - {argument}, None)


def queue(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    if f == "enqueue":
        return (*state, argument), None
    return (state[1:], state[0]) if state else (state, None)


def counter(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    return (state, state) if f == "read" else (state + argument, None)


def bank(state: Any, f: str, argument: Any) -> tuple[Any, Any]:
    balances = dict(state)
    if f == "read":
        return state, balances
    if balances[argument["from"]] < argument["amount"]:
        return state, False
    balances[argument["from"]] -= argument["amount"]
    balances[argument["to"]] += argument["amount"]
    return tuple(sorted(balances.items())), True


@dataclass(frozen=True)
class Object:
    """`ask(random, n)`: the nth call's f and argument. `lie(random)`: a wrong result for f, or None to let it be."""

    apply: Apply
    initial: Any
    ask: Callable[[Random, int], tuple[str, Any]]
    lie: Callable[[Random, str], Any]
    tells: frozenset[str]


def _accounts(random: Random) -> dict[str, Any]:
    source, target = random.sample(["a", "b"], 2)
    return {"from": source, "to": target, "amount": random.randint(1, 2)}


OBJECTS: dict[str, Object] = {
    "unique register": Object(
        register, 0, lambda r, n: r.choice([("read", None), ("write", n + 1)]),
        lambda r, _f: r.randint(0, 5), frozenset({"read"}),
    ),
    "unique cas-register": Object(
        register, 0, lambda r, n: r.choice([("read", None), ("write", n + 1), ("cas", [r.randint(0, n), n + 1])]),
        lambda r, _f: r.randint(0, 5), frozenset({"read"}),
    ),
    "cas-register": Object(
        register, 0,
        lambda r, _n: r.choice(
            [("read", None), ("write", r.randint(0, 2)), ("cas", [r.randint(0, 2), r.randint(0, 2)])]
        ),
        lambda r, _f: r.randint(0, 2), frozenset({"read"}),
    ),
    "kv": Object(
        kv, "",
        lambda r, _n: r.choice([("get", None), ("get", None), ("put", r.choice("ab")), ("append", r.choice("abc"))]),
        lambda r, _f: "".join(r.choice("abc") for _ in range(r.randint(0, 2))), frozenset({"get"}),
    ),
    "growing set": Object(
        whole_set, frozenset(), lambda r, n: r.choice([("read", None), ("add", n)]),
        lambda r, _f: sorted(r.sample(range(6), r.randint(0, 3))), frozenset({"read"}),
    ),
    "set": Object(
        whole_set, frozenset(),
        lambda r, _n: r.choice([("read", None), ("add", r.randint(0, 1)), ("remove", r.randint(0, 1))]),
        lambda r, _f: sorted(r.sample(range(2), r.randint(0, 2))), frozenset({"read"}),
    ),
    "elements": Object(
        whole_set, frozenset(), lambda r, _n: (r.choice(["contains", "add", "remove"]), r.randint(0, 1)),
        lambda r, _f: r.random() < 0.5, frozenset({"contains"}),
    ),
    "unique queue": Object(
        queue, (), lambda r, n: r.choice([("enqueue", n + 1), ("dequeue", None)]),
        lambda r, _f: r.choice([None, 1, 2, 3, 4]), frozenset({"dequeue"}),
    ),
    "queue": Object(
        queue, (), lambda r, _n: r.choice([("enqueue", r.randint(1, 2)), ("dequeue", None)]),
        lambda r, _f: r.choice([None, 1, 2]), frozenset({"dequeue"}),
    ),
    "counter": Object(
        counter, 0, lambda r, _n: r.choice([("read", None), ("add", r.choice([1, 2, -1]))]),
        lambda r, _f: r.randint(-1, 4), frozenset({"read"}),
    ),
    "bank": Object(
        bank, (("a", 2), ("b", 2)), lambda r, _n: r.choice([("read", None), ("transfer", _accounts(r))]),
        lambda r, _f: {"a": (a := r.randint(0, 4)), "b": 4 - a}, frozenset({"read"}),
    ),
}  # fmt: skip


def made(what: Object, seed: int, *, calls: int = 7, clients: int = 4) -> History:  # noqa: PLR0915  one loop
    """A history of an object that keeps its promise; in two of three, some results are lies.

    Calls that nobody saw return may take effect late, or never; a call that failed never does.
    """
    random = Random(seed)
    lies = random.choice([0.0, 0.2, 0.6])
    state = what.initial
    made = History()
    idle = list(range(clients))
    fresh = clients
    under_way: dict[int, list[Any]] = {}  # process -> f, argument, has taken effect, result
    ghosts: list[tuple[str, Any]] = []
    asked = 0

    def tell(process: int, kind: OpType, f: str, value: Any) -> None:
        made.append(Op(len(made), process, kind, f, None, value, len(made) * 1_000_000))

    while asked < calls or under_way:
        if ghosts and random.random() < 0.2:
            f, argument = ghosts.pop()
            state, _ = what.apply(state, f, argument)
        if asked < calls and idle and (not under_way or random.random() < 0.5):
            process = idle.pop(random.randrange(len(idle)))
            f, argument = what.ask(random, asked)
            asked += 1
            tell(process, OpType.INVOKE, f, argument)
            under_way[process] = [f, argument, False, None]
            continue
        process = random.choice(sorted(under_way))
        call = under_way[process]
        f, argument, has_effect, result = call
        if not has_effect and random.random() < 0.5:
            state, call[3] = what.apply(state, f, argument)
            call[2] = True
            continue
        del under_way[process]
        chance = random.random()
        if chance < 0.15:
            tell(process, OpType.INFO, f, argument)
            if not has_effect:
                ghosts.append((f, argument))
            idle.append(fresh)
            fresh += 1
            continue
        idle.append(process)
        if chance < 0.2 and not has_effect:
            tell(process, OpType.FAIL, f, argument)
            continue
        if not has_effect:
            state, result = what.apply(state, f, argument)
        if f in what.tells and random.random() < lies:
            result = what.lie(random, f)
        if result is False and f in ("cas", "transfer"):
            tell(process, OpType.FAIL, f, argument)
        else:
            tell(process, OpType.OK, f, result if f in what.tells else argument)
    return made


def is_linearizable(what: Object, calls: Sequence[Call]) -> bool:
    """Tries every order that real time allows, and for calls of unknown outcome also that they never happened."""

    def go(state: Any, left: list[Call]) -> bool:
        if all(call.is_open for call in left):
            return True
        for call in left:
            if any(other.end < call.start for other in left):
                continue
            after, result = what.apply(state, call.f, call.argument)
            if call.is_open:
                is_legal = True
            elif call.f in what.tells:
                is_legal = result == (
                    sorted(call.result) if call.f == "read" and what.apply is whole_set else call.result
                )
            else:
                is_legal = result is not False
            if is_legal and go(after, [other for other in left if other is not call]):
                return True
        return False

    return go(what.initial, [call for call in calls if call.outcome is not OpType.FAIL])


def without_last(calls: Sequence[Call], end: int) -> list[Call]:
    """The calls as a prefix of the history shows them: up to the index `end`."""
    seen = []
    for call in calls:
        if call.start <= end:
            is_over = call.end != OPEN and call.end <= end
            seen.append(call if is_over else Call(call.invoke, None))
    return seen
