"""L11. The general search for a linearization, for any model; and the shrinking of what refutes one.

Source: Wing & Gong 1993 "Testing and Verifying Concurrent Objects"; Lowe 2017 "Testing for Linearizability"
(just-in-time linearization, configurations remembered); Horn & Kroening 2015 "Faster Linearizability Checking via
P-Compositionality" (each key by itself); Zeller & Hildebrandt 2002 "Simplifying and Isolating Failure-Inducing Input".
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from clusterkit.checkers.models import ILLEGAL, UNKNOWN, Model, Step
from clusterkit.clock import Deadline
from clusterkit.history.history import OPEN

_STEPS_A_TURN = 2_000


class TooManyConfigurations(Exception):
    """The memory budget is used up: the answer is unknown."""


@dataclass(frozen=True)
class Stuck:
    """The call whose return no linearization could explain. `prefix`: the calls that had returned before it did; they
    are linearizable. `states`: those the object could have been in, the call not counted.
    """

    step: Step
    prefix: int
    states: tuple[Any, ...]


_Configuration = tuple[Any, int]
_Frontier = dict[_Configuration, list[int]]
"""(state, those calls under way that have taken effect and are neither read nor overwriting) -> its burdens.

A burden is a set, as bits of an int, of what a configuration can do less than another: one whose burden is part of the
other's can do all that the other can, so only the smallest are kept. Three bits for each place:

- must: a read or overwriting call under way still has to take effect. A read never has to wait: where it is legal now,
  it takes effect now, for it changes nothing. An overwriting call is free of it once another one takes effect while it
  is under way: it may have taken effect just before that one, seen by nobody. Then it may do so again, or not, until it
  returns.
- spent: an overwriting call under way has taken effect where somebody saw it.
- used: an open call (of unknown outcome) has taken effect. Those not used may do so later, or never.

So neither unknown outcomes nor many calls under way make many configurations: only what was read does.
"""


@dataclass(frozen=True)
class _Place:
    """A call under way, and its bits: `done` of a configuration, `must` and `spent` of a burden."""

    step: Step
    number: int
    done: int
    must: int
    spent: int


def _place(step: Step, number: int) -> _Place:
    return _Place(step, number, 1 << number, 1 << 3 * number, 2 << 3 * number)


class Search:
    """Walks through invokes and returns. At each return, every configuration in which the returning call has not taken
    effect is extended by calls under way, in all orders, until it has (just in time: earlier is never needed).
    """

    def __init__(self, model: Model, steps: list[Step], *, most: int) -> None:
        self._model = model
        self._most = most
        self._steps = steps
        self._reads: dict[int, _Place] = {}
        self._writes: dict[int, _Place] = {}
        self._others: dict[int, _Place] = {}
        self._write_musts = 0
        self._classes: dict[tuple[str, Any], tuple[Step, list[int]]] = {}
        self._frontier: _Frontier = {(model.init, 0): [0]}
        self._work = 0
        self._turn = _STEPS_A_TURN

    def run(self) -> Generator[None, None, Stuck | None]:
        """Yields now and then, so that searches can take turns. Raises: TooManyConfigurations."""
        events = [(step.start, step, True) for step in self._steps]
        events += [(step.end, step, False) for step in self._steps if step.end != OPEN]
        events.sort(key=lambda event: event[0])
        places: dict[int, _Place] = {}
        free: list[int] = []
        open_calls = returned = 0
        for _, step, is_invoke in events:
            if not is_invoke:
                place = places.pop(step.start)
                if not (yield from self._return(place)):
                    return Stuck(step, returned, self._states())
                free.append(place.number)
                returned += 1
            elif step.end == OPEN:
                _, same = self._classes.setdefault((step.f, step.argument), (step, []))
                same.append(4 << 3 * open_calls)
                open_calls += 1
            else:
                place = _place(step, free.pop() if free else len(places))
                places[step.start] = place
                self._invoke(place)
        return None

    def _states(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(state for state, _ in self._frontier))

    def _under_way(self, step: Step) -> dict[int, _Place]:
        if step.f in self._model.reads:
            return self._reads
        return self._writes if step.f in self._model.overwrites else self._others

    def _invoke(self, place: _Place) -> None:
        step = place.step
        under_way = self._under_way(step)
        under_way[place.number] = place
        if under_way is self._others:
            return
        if under_way is self._writes:
            self._write_musts |= place.must
        is_read = under_way is self._reads
        for (state, _), burdens in self._frontier.items():
            if not is_read or self._model.step(state, step.f, step.argument, step.result) is ILLEGAL:
                burdens[:] = [burden | place.must for burden in burdens]
        self._work += len(self._frontier)

    def _return(self, place: _Place) -> Generator[None, None, bool]:
        """Whether some configuration is left. If not, the frontier stays as it was before."""
        kept: _Frontier = {}
        stack: list[tuple[Any, int, int]] = []
        seen: _Frontier = {}
        under_way = self._under_way(place.step)
        for (state, done), burdens in self._frontier.items():
            for burden in burdens:
                if under_way is self._others:
                    has_effect, may_have = bool(done & place.done), not done & place.done
                else:
                    has_effect = not burden & place.must
                    may_have = not has_effect or (under_way is self._writes and not burden & place.spent)
                if has_effect:
                    _add(kept, (state, done & ~place.done), burden & ~place.spent)
                if may_have:
                    stack.append((state, done, burden))
        while stack:
            self._extend(stack, seen, kept, place)
            if self._work > self._turn:
                self._turn = self._work + _STEPS_A_TURN
                if sum(map(len, kept.values())) + sum(map(len, seen.values())) > self._most:
                    raise TooManyConfigurations
                yield
        self._work += 1
        if not kept:
            return False
        del under_way[place.number]
        self._write_musts &= ~place.must
        self._frontier = kept
        return True

    def _extend(self, stack: list[tuple[Any, int, int]], seen: _Frontier, kept: _Frontier, place: _Place) -> None:
        """Lets one more call take effect, in every way that is legal and may be of use.

        An overwriting call, other than the returning one, is of use only to those who see its value: were the next to
        take effect an overwriting one, it could as well have been hidden by that one later, or have never happened.
        """
        state, done, burden = stack.pop()
        apply, overwrites = self._model.step, self._model.overwrites
        is_read = place.number in self._reads

        def reach(after: Any, then_done: int, then: int, *, is_over: bool) -> None:
            if is_over:
                _add(kept, (after, then_done & ~place.done), then & ~place.spent)
            elif _add(seen, (after, then_done), then):
                stack.append((after, then_done, then))

        hidden = burden & ~self._write_musts
        for other in self._writes.values():
            if burden & other.spent:
                continue
            self._work += 1
            after = apply(state, other.step.f, other.step.argument, other.step.result)
            if after is not ILLEGAL:
                then = self._with_reads(after, hidden)
                if other is place or then != hidden or self._is_found(after, done):
                    is_over = other is place or (is_read and not then & place.must)
                    reach(after, done, then | other.spent, is_over=is_over)
        for other in self._others.values():
            if done & other.done:
                continue
            self._work += 1
            after = apply(state, other.step.f, other.step.argument, other.step.result)
            if after is not ILLEGAL:
                then = self._with_reads(after, burden)
                reach(after, done | other.done, then, is_over=other is place or (is_read and not then & place.must))
        for first, same in self._classes.values():
            unused = next((each for each in same if not burden & each), 0)
            if not unused:
                continue
            self._work += 1
            after = apply(state, first.f, first.argument, UNKNOWN)
            before = hidden if first.f in overwrites else burden
            # One that writes what is there already is of use all the same, where it hides others.
            if after is ILLEGAL or (after == state and before == burden):
                continue
            then = self._with_reads(after, before)
            if first.f not in overwrites or then != before or self._is_found(after, done):
                reach(after, done, then | unused, is_over=is_read and not then & place.must)

    def _with_reads(self, state: Any, burden: int) -> int:
        for place in self._reads.values():
            if burden & place.must:
                step = place.step
                if self._model.step(state, step.f, step.argument, step.result) is not ILLEGAL:
                    burden ^= place.must
        return burden

    def _is_found(self, state: Any, done: int) -> bool:
        """Whether a call that is neither read nor overwriting, a cas, could take effect next."""
        apply, overwrites = self._model.step, self._model.overwrites
        return any(
            apply(state, place.step.f, place.step.argument, place.step.result) is not ILLEGAL
            for place in self._others.values()
            if not done & place.done
        ) or any(
            apply(state, first.f, first.argument, UNKNOWN) is not ILLEGAL
            for first, _ in self._classes.values()
            if first.f not in overwrites
        )


def _add(frontier: _Frontier, key: _Configuration, burden: int) -> bool:
    """Whether nothing as good was there."""
    found = frontier.get(key)
    if found is None:
        frontier[key] = [burden]
        return True
    for other in found:
        if other & burden == other:
            return False
    found[:] = [other for other in found if burden & other != burden]
    found.append(burden)
    return True


def search(model: Model, steps: list[Step], deadline: Deadline, *, most: int) -> Stuck | None:
    """The whole search in one go. Raises: TimeoutError, TooManyConfigurations."""
    running = Search(model, steps, most=most).run()
    while True:
        try:
            next(running)
        except StopIteration as ended:
            stuck: Stuck | None = ended.value
            return stuck
        if deadline.is_over:
            raise TimeoutError


# --- evidence ----------------------------------------------------------------------------------------------------


def shrink(model: Model, steps: list[Step], stuck: Stuck, deadline: Deadline, *, most: int) -> list[Step]:
    """The fewest calls found that still have no linearization, when the deadline was over or nothing more could go.

    Every removal is one that a linearizable history survives: so what is left being illegal proves that the whole was,
    and what it shows is a fault of the system, never one that the removal made. Three ways:

    1. What began after the stuck call returned goes; what had not returned by then becomes open: a prefix of a
       linearizable history is linearizable.
    2. All that ended before some overwriting call W began goes, with the reads that overlap W: in any legal order those
       calls stand before W, which hides them. Not where a call overlaps W that is neither read nor overwriting.
    3. Reads, and what the model says nobody can miss, in halves, quarters ... one by one (delta debugging).
    """

    current = until(model, steps, stuck.step.end)
    for window in _windows(model, current):
        if _is_illegal(model, window, deadline, most):
            current = window
            break
    if model.group is not None:
        groups: dict[Hashable, list[Step]] = {}
        for step in current:
            groups.setdefault(model.group(step), []).append(step)
        current = _without(model, current, list(groups.values()), deadline, most)
    return minimal(model, current, deadline, most=most)


def minimal(model: Model, steps: list[Step], deadline: Deadline, *, most: int) -> list[Step]:
    """The third way of `shrink`, until no call can go by itself."""
    while not deadline.is_over:
        fewer = _without(model, steps, [[step] for step in steps], deadline, most)
        if len(fewer) == len(steps):
            break
        steps = fewer
    return steps


def _is_illegal(model: Model, steps: list[Step], deadline: Deadline, most: int) -> bool:
    """No where the time is over: what is not known to be illegal is no evidence."""
    try:
        return search(model, steps, deadline, most=most) is not None
    except (TimeoutError, TooManyConfigurations):
        return False


def until(model: Model, steps: list[Step], end: int) -> list[Step]:
    """The calls as they looked at the moment `end`: what had not returned is open, and a read of it says nothing."""
    made = []
    for step in steps:
        if step.end <= end:
            made.append(step)
        elif step.start < end and step.f not in model.reads:
            made.append(step._replace(result=UNKNOWN, end=OPEN))
    return made


def _windows(model: Model, steps: list[Step]) -> Iterator[list[Step]]:
    """What follows an overwriting call, shortest first; each about twice as long as the one before."""
    size = 4
    writes = [place for place, step in enumerate(steps) if step.f in model.overwrites and step.end != OPEN]
    for place in reversed(writes):
        if len(steps) - place >= size:
            window = _window(model, steps, steps[place])
            if window is not None:
                yield window
                size *= 2


def _window(model: Model, steps: list[Step], write: Step) -> list[Step] | None:
    made = []
    for step in steps:
        if step.end < write.start:
            continue
        overlaps = step.start < write.end and step is not write
        if overlaps and step.f in model.reads:
            continue
        if overlaps and step.end != OPEN and step.f not in model.overwrites:
            return None
        made.append(step)
    return made


def _without(model: Model, steps: list[Step], groups: list[list[Step]], deadline: Deadline, most: int) -> list[Step]:
    """Removes runs of groups, long ones first, as long as the rest stays illegal."""
    size = max(1, len(groups) // 2)
    while groups and not deadline.is_over:
        at = 0
        while at < len(groups) and not deadline.is_over:
            removed = [step for group in groups[at : at + size] for step in group]
            gone = {step.start for step in removed}
            kept = [step for step in steps if step.start not in gone]
            if model.may_remove(kept, removed) and _is_illegal(model, kept, deadline, most):
                steps = kept
                del groups[at : at + size]
            else:
                at += size
        if size == 1:
            break
        size //= 2
    return steps
