"""L11. Which checkers judge a history of a given model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from clusterkit.checkers import models
from clusterkit.checkers.base import Checker
from clusterkit.checkers.linearizable import Linearizable
from clusterkit.checkers.lost_writes import QueueElements, SetElements
from clusterkit.checkers.models import Model
from clusterkit.checkers.totals import BankTotals, CounterBounds
from clusterkit.errors import UsageError

MODELS = ("register", "cas-register", "set", "queue", "counter", "bank", "kv")

Claim = Literal["linearizable", "durable"]
CLAIMS: tuple[Claim, ...] = ("linearizable", "durable")

_WANTED: dict[str, tuple[type | tuple[type, ...], str]] = {
    "set": (list, "a list of elements"),
    "queue": (list, "a list of elements"),
    "counter": (int, "a whole number"),
    "bank": (dict, "accounts with their balances: {a: 10, b: 10}"),
    "kv": (str, "text"),
}


def checkers_for(
    model: str, initial: Any = None, *, claim: Claim = "linearizable", time_limit_s: float = 60.0
) -> tuple[Checker, ...]:
    """The checkers that may judge a history of this model, from quick to slow.

    `initial` is the state before the first call, None where the model's own will do (nothing, empty, 0). Under the
    claim "durable" only lost, doubled and invented elements or amounts count; under "linearizable" order and freshness,
    too. A bank whose initial balances are not known is judged by its totals alone.

    Raises: UsageError for an unknown model, an `initial` it cannot have, a claim it cannot be judged by.
    """
    if model not in MODELS:
        raise UsageError(f'there is no model "{model}"', mend=f"use one of {', '.join(MODELS)}")
    if model in _WANTED and initial is not None and not isinstance(initial, _WANTED[model][0]):
        raise UsageError(f"a {model} cannot begin as {initial!r:.60}", mend=f"give {_WANTED[model][1]}")
    strict = claim == "linearizable"
    quick: dict[str, Checker] = {
        "set": SetElements(must_be_fresh=strict),
        "queue": QueueElements(),
        "counter": CounterBounds(initial if isinstance(initial, int) else 0),
        "bank": BankTotals(initial if isinstance(initial, Mapping) else None),
    }
    found = (quick[model],) if model in quick else ()
    if not strict:
        if not found:
            raise UsageError(
                f"nothing of a {model} is judged by durability alone",
                mend="judge it as linearizable; or write unique elements to a set",
            )
        return found
    if model == "bank" and initial is None:
        return found
    return (*found, Linearizable(_model(model, initial), time_limit_s=time_limit_s))


def _model(name: str, initial: Any) -> Model:
    if name == "bank":
        return models.bank(initial)
    empty: dict[str, Any] = {"set": (), "queue": (), "counter": 0, "kv": ""}
    make: dict[str, Callable[[Any], Model]] = {
        "register": models.register,
        "cas-register": models.cas_register,
        "set": models.grow_set,
        "queue": models.queue,
        "counter": models.counter,
        "kv": models.kv,
    }
    return make[name](empty.get(name) if initial is None else initial)


def calls_of(model: str) -> frozenset[str]:
    """The calls that a history of this model may hold."""
    return _model(model, {} if model == "bank" else None).fs
