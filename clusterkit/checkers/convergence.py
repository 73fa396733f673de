"""L11. Do all replicas agree again, once the faults are healed and nobody writes?"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from clusterkit.checkers.base import Validity, Verdict, indices_of, lines_of, some
from clusterkit.history.history import OPEN, Call, History, by_key
from clusterkit.history.op import NEMESIS, PEEK, OpType, hashable

_READS = frozenset({"read", "get", PEEK})


@dataclass(frozen=True)
class Convergence:
    """The last reads of each key, one of every node, after the last write and the last heal, are equal.

    Sees: replicas that stay apart: split brain that healing did not mend, lost hints, conflicts resolved differently.
    Cannot see: whether the value they agree on is right (the other checkers do); disagreement that ended before the
    final reads; nodes that were not asked. Lists are compared as sets where `is_set`.

    Calls: `peek`, with the node that was asked, or `read` and `get` where nobody peeked; every other call counts as a
    write. Unanswered writes may arrive late: they count until their `info`, not longer; settle before the final reads.
    """

    is_set: bool = False
    name: str = "convergence"

    def check(self, history: History) -> Verdict:
        calls = history.calls()
        healed = max((op.index for op in history.facts(NEMESIS) if op.f == "heal"), default=-1)
        reads = {PEEK} if any(call.f == PEEK for call in calls) else _READS
        answers: dict[Hashable, dict[str, Call]] = {}
        for key, its in by_key(calls).items():
            written = max((_last_index(call) for call in its if call.f not in _READS), default=-1)
            answers[key] = {
                call.node: call
                for call in its
                if call.f in reads and call.is_ok and call.node and call.start > max(written, healed)
            }
        nodes = sorted({node for its in answers.values() for node in its})
        numbers: dict[str, Any] = {"keys": len(answers), "nodes": len(nodes)}
        apart = {key: its for key, its in answers.items() if len({self._value(call) for call in its.values()}) > 1}
        numbers["keys apart"] = len(apart)
        if apart:
            key, differing = next(iter(apart.items()))
            where = "" if key is None else f"key {key}: "
            text = f"{where}nodes do not agree; {len(apart)} of {len(answers)} keys are apart: {some(apart)}"
            indices = indices_of(call for each in apart.values() for call in each.values())
            return Verdict(self.name, Validity.INVALID, text, lines_of(differing.values()), indices, numbers)
        unread = [key for key, its in answers.items() if len(its) < max(2, len(nodes))]
        if unread or not answers:
            named = some(key for key in unread if key is not None)
            text = f"no final read of every node, for {len(unread)} of {len(answers)} keys" + (named and f": {named}")
            return Verdict(self.name, Validity.UNKNOWN, text, numbers=numbers)
        text = f"{len(nodes)} nodes agree on {len(answers)} keys"
        return Verdict(self.name, Validity.VALID, text, numbers=numbers)

    def _value(self, call: Call) -> Hashable:
        value = hashable(call.result)
        return frozenset(value) if self.is_set and isinstance(value, tuple) else value


def _last_index(call: Call) -> int:
    """When the call was last heard of. A write that failed changed nothing."""
    if call.outcome is OpType.FAIL:
        return -1
    return call.end if call.end != OPEN else call.indices[-1]
