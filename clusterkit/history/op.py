"""L1. One entry of a history: a client's call or its outcome, a fault, a measured effect, a change of leader."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NEMESIS = "nemesis"
"""The process that makes and heals faults. `f` is inject, measure or heal; `key` names the fault ("kill-3")."""

OBSERVER = "observer"
"""The process that watches who leads. `f` is leader; `key` is the component, `value` the leader's node, or None."""

PEEK = "peek"
"""A read of what one node itself has. Convergence is judged by it, and no other promise."""

_PLAIN = frozenset({str, int, float, bool, type(None)})


class OpType(StrEnum):
    """INVOKE: the call is about to leave. OK: it took effect. FAIL: it surely did not. INFO: nobody knows."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Op:
    """One line of a history.

    `index`: its place, from 0. `process`: a client's number; a word (NEMESIS, OBSERVER) for all who are not clients:
    their entries are single facts of type INFO. `key`: the object acted upon, where there are several. `value`: the
    argument of an invoke; the result of an ok. `time_ns`: since the start of the run. `error`: the system's own words.
    """

    index: int
    process: int | str
    type: OpType
    f: str
    key: Any = None
    value: Any = None
    time_ns: int = 0
    node: str = ""
    error: str = ""

    @property
    def is_client(self) -> bool:
        return isinstance(self.process, int)


def hashable(value: Any) -> Hashable:
    """The value as something that can stand in a set: lists become tuples, maps sorted pairs, sets frozen sets."""
    if value.__class__ in _PLAIN:  # most values, millions of times
        return value  # type: ignore[no-any-return]  # one of the plain types
    if isinstance(value, list | tuple):
        return tuple(hashable(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted(((hashable(key), hashable(item)) for key, item in value.items()), key=repr))
    if isinstance(value, set | frozenset):
        return frozenset(hashable(item) for item in value)
    if isinstance(value, Hashable):
        return value
    raise ValueError(f"a value of a history cannot be a {type(value).__name__}")
