"""L11. Is there an order in which the calls, one after another, could have given what they gave?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from clusterkit.checkers.base import Validity, Verdict, indices_of, lines_of, some
from clusterkit.checkers.models import Model, Step, element
from clusterkit.checkers.search import Search, Stuck, TooManyConfigurations, minimal, search, shrink, until
from clusterkit.checkers.unique import (
    NOT_UNIQUE,
    Answer,
    Refutation,
    judge_queue,
    judge_register,
    judge_set,
)
from clusterkit.clock import SYSTEM, Clock, Deadline
from clusterkit.history.history import OPEN, History, by_key
from clusterkit.history.op import PEEK

_UNIQUE: dict[str, Callable[[list[Step], Any], Answer]] = {
    "register": judge_register,
    "cas-register": judge_register,
    "queue": judge_queue,
    "set": judge_set,
}
_SLICE_S = 0.05
_MOST_LINES = 30


@dataclass
class _Part:
    """One object: a key, or one element of a set. `running`: its search, None when it has ended."""

    name: Hashable
    model: Model
    steps: list[Step]
    running: Generator[None, None, Stuck | None] | None = None


@dataclass(frozen=True)
class Linearizable:
    """Linearizability of any model: every call takes effect at one moment between its invoke and its completion.

    Sees: stale reads, lost and reordered writes, split brain, dirty reads, a value that comes back: whatever a client
    could tell from one correct copy, on each key. Cannot see: faults across keys (each is judged by itself: that is
    sound for linearizability, and says nothing of transactions), what nobody read, and what unanswered calls could
    explain: an `info` may take effect at any later time, or never. The initial value has to be known.

    Written values that are all different are judged in log-linear time; else by search, which is exponential in the
    worst case: keys take turns, the first that is refuted ends it, and when `time_limit_s` is over or more than
    `most_configurations` (about 300 bytes each) are remembered for a key, that key is unknown. Evidence is shrunk for
    `shrink_s` at most, beyond the limit if need be.
    """

    model: Model
    time_limit_s: float = 60.0
    most_configurations: int = 300_000
    shrink_s: float = 10.0
    clock: Clock = field(default=SYSTEM, repr=False)
    name: str = "linearizable"

    def check(self, history: History) -> Verdict:
        """Raises: UsageError where the history has a call that the model does not know."""
        deadline = Deadline(self.time_limit_s, self.clock)
        parts = self._parts(history)
        numbers: dict[str, Any] = {
            "model": self.model.name,
            "keys": len(parts),
            "calls": sum(len(part.steps) for part in parts),
        }
        if not numbers["calls"]:
            return Verdict(self.name, Validity.UNKNOWN, "no call took effect: nothing to judge", numbers=numbers)
        hard: list[_Part] = []
        for part in parts:
            answer = self._quick(part)
            if isinstance(answer, Refutation):
                return self._refuted_quickly(part, answer, numbers)
            if answer is NOT_UNIQUE:
                hard.append(part)
        numbers["searched keys"] = len(hard)
        return self._search(hard, deadline, numbers)

    def _parts(self, history: History) -> list[_Part]:
        parts: list[_Part] = []
        for key, calls in by_key(call for call in history.calls() if call.f != PEEK).items():
            steps = self.model.steps(calls)
            is_by_element = self.model.name == "set" and all(step.f != "read" for step in steps)
            if not is_by_element:
                parts.append(_Part(key, self.model, steps))
                continue
            elements: dict[Hashable, list[Step]] = {}
            for step in steps:
                elements.setdefault(step.argument, []).append(step)
            initial = self.model.init
            for value, its in elements.items():
                is_there = isinstance(initial, frozenset) and value in initial
                parts.append(_Part(value if key is None else (key, value), element(is_there), its))
        return parts

    def _quick(self, part: _Part) -> Answer:
        if part.model is not self.model or self.model.name not in _UNIQUE:
            return NOT_UNIQUE
        return _UNIQUE[self.model.name](part.steps, self.model.init)

    def _refuted_quickly(self, part: _Part, whole: Refutation, numbers: dict[str, Any]) -> Verdict:
        """Finds the first return that nothing could explain, and the evidence in the calls up to it.

        All prefixes of a linearizable history are linearizable, so halving finds it. A prefix of a queue may not
        qualify (a dequeue under way beside an empty answer); then the refutation of the whole stands.
        """
        ends = sorted(step.end for step in part.steps if step.end != OPEN)
        low, high = 0, len(ends) - 1
        while low < high:
            middle = (low + high) // 2
            if isinstance(self._prefix(part, ends[middle]), Refutation):
                high = middle
            else:
                low = middle + 1
        refutation = self._prefix(part, ends[low])
        is_prefix = isinstance(refutation, Refutation)
        told = refutation if isinstance(refutation, Refutation) else whole
        deadline = Deadline(self.shrink_s, self.clock)
        steps = minimal(part.model, list(told.steps), deadline, most=self.most_configurations)
        return self._invalid(part, steps, told.why, low if is_prefix else None, numbers)

    def _prefix(self, part: _Part, end: int) -> Answer:
        return self._quick(_Part(part.name, part.model, until(part.model, part.steps, end)))

    def _search(self, hard: list[_Part], deadline: Deadline, numbers: dict[str, Any]) -> Verdict:
        for part in hard:
            part.running = Search(part.model, part.steps, most=self.most_configurations).run()
        waiting = deque(hard)
        given_up: list[_Part] = []
        while waiting and not deadline.is_over:
            part = waiting.popleft()
            try:
                stuck = self._turn(part, deadline)
            except TooManyConfigurations:
                part.running = None
                given_up.append(part)
                continue
            if stuck is not None:
                return self._refuted(part, stuck, numbers)
            if part.running is not None:
                waiting.append(part)
        numbers["keys not finished"] = len(waiting) + len(given_up)
        if waiting:
            keys = some(part.name for part in (*waiting, *given_up))
            text = f"not finished within {self.time_limit_s:g} s; undecided keys: {keys}"
            return Verdict(self.name, Validity.UNKNOWN, text, numbers=numbers)
        if given_up:
            keys = some(part.name for part in given_up)
            text = f"more than {self.most_configurations} configurations to remember; undecided keys: {keys}"
            return Verdict(self.name, Validity.UNKNOWN, text, numbers=numbers)
        text = f"{numbers['calls']} calls on {numbers['keys']} keys have a legal order"
        return Verdict(self.name, Validity.VALID, text, numbers=numbers)

    def _turn(self, part: _Part, deadline: Deadline) -> Stuck | None:
        """Searches for one slice of time. `running` is None when the part is linearizable."""
        assert part.running is not None
        turn = Deadline(_SLICE_S, self.clock)
        while not turn.is_over and not deadline.is_over:
            try:
                next(part.running)
            except StopIteration as ended:
                stuck: Stuck | None = ended.value
                part.running = None
                return stuck
        return None

    def _refuted(self, part: _Part, stuck: Stuck, numbers: dict[str, Any]) -> Verdict:
        deadline = Deadline(self.shrink_s, self.clock)
        steps = shrink(part.model, part.steps, stuck, deadline, most=self.most_configurations)
        numbers["evidence is smallest"] = not deadline.is_over
        why = _why(part.model, steps, stuck, Deadline(self.shrink_s, self.clock), self.most_configurations)
        return self._invalid(part, steps, why, stuck.prefix, numbers)

    def _invalid(
        self, part: _Part, steps: list[Step], why: str, prefix: int | None, numbers: dict[str, Any]
    ) -> Verdict:
        if prefix is not None:
            numbers["longest linearizable prefix"] = prefix
        why = _stale(steps) or why
        calls = [step.call for step in steps]
        lines = lines_of(calls)
        if len(lines) > _MOST_LINES:
            lines = (f"... {len(lines) - _MOST_LINES} calls before these", *lines[-_MOST_LINES:])
        where = "" if part.name is None else f"key {part.name}: "
        return Verdict(self.name, Validity.INVALID, where + why, lines, indices_of(calls), numbers)


def _stale(steps: list[Step]) -> str:
    """The plain words for the most frequent case: write a, write b, read a, one after another."""
    if [step.f for step in steps] != ["write", "write", "read"]:
        return ""
    old, new, read = steps
    if old.end > new.start or new.end > read.start or read.result != old.argument or new.argument == old.argument:
        return ""
    return (
        f"stale read: process {read.call.invoke.process} read {_state(read.result)}, "
        f"though {_state(new.argument)} had been written over it before that read began"
    )


def _why(model: Model, steps: list[Step], stuck: Stuck, deadline: Deadline, most: int) -> str:
    """Says it of the shrunk calls, which end with a call that is stuck, too."""
    with suppress(TimeoutError, TooManyConfigurations):  # the first one is as true, only less to the point
        stuck = search(model, steps, deadline, most=most) or stuck
    call = stuck.step.call
    states = some((_state(state) for state in stuck.states), most=8)
    return (
        f"no order explains {call.f} -> {_state(stuck.step.result)} of process {call.invoke.process}; before it, "
        f"the {model.name} could only be {states}"
    )


def _state(state: Any) -> str:
    text = "nothing" if state is None else str(set(state) or "{}" if isinstance(state, frozenset) else state)
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"
