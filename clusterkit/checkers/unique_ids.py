"""L11. Is no id given out twice?"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from clusterkit.checkers.base import Validity, Verdict, indices_of, lines_of, some
from clusterkit.history.history import Call, History
from clusterkit.history.op import hashable


@dataclass(frozen=True)
class UniqueIds:
    """Sees: an id that two calls returned. Cannot see: ids given to calls without an answer; gaps; wrong order.

    Calls: `generate` -> id.
    """

    name: str = "unique ids"

    def check(self, history: History) -> Verdict:
        calls = history.calls("generate")
        given: dict[Hashable, list[Call]] = {}
        for call in calls:
            if call.is_ok:
                given.setdefault(hashable(call.result), []).append(call)
        doubled = {value: its for value, its in given.items() if len(its) > 1}
        numbers: dict[str, Any] = {
            "attempted": len(calls),
            "acknowledged": sum(map(len, given.values())),
            "duplicated": len(doubled),
        }
        if not given:
            return Verdict(self.name, Validity.UNKNOWN, "no id was given out: nothing to judge", numbers=numbers)
        if not doubled:
            return Verdict(self.name, Validity.VALID, f"all {len(given)} ids are different", numbers=numbers)
        text = f"{len(doubled)} given out more than once: {some(doubled)}"
        indices = indices_of(call for its in doubled.values() for call in its)
        return Verdict(self.name, Validity.INVALID, text, lines_of(next(iter(doubled.values()))), indices, numbers)
