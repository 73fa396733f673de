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
"""(state, those calls under way that have taken effect) -> the sets of open calls used up for it, the smallest ones.

Both sets are bits of an int. A call under way holds a bit until it returns. An open call (of unknown outcome) holds one
to the end; since it may never take effect, a configuration that used up less of them can do all that one which used up
more can, so only the smallest sets are kept. That, and taking equal open calls in the order of their invokes, is what
keeps histories with many unknown outcomes tractable.
"""


class Search:
    """Walks through invokes and returns. At each return, every configuration in which the returning call has not taken
    effect is extended by calls under way, in all orders, until it has (just in time: earlier is never needed).
    """

    def __init__(self, model: Model, steps: list[Step], *, most: int) -> None:
        self._model = model
        self._most = most
        self._steps = steps
        self._pending: dict[int, Step] = {}
        self._pending_reads: list[tuple[int, Step]] = []
        self._classes: dict[tuple[str, Any], tuple[Step, list[int]]] = {}
        self._frontier: _Frontier = {(model.init, 0): [0]}
        self._work = 0
        self._turn = _STEPS_A_TURN
        self.largest = 1

    def run(self) -> Generator[None, None, Stuck | None]:
        """Yields now and then, so that searches can take turns. Raises: TooManyConfigurations."""
        events = [(step.start, step, True) for step in self._steps]
        events += [(step.end, step, False) for step in self._steps if step.end != OPEN]
        events.sort(key=lambda event: event[0])
        bits: dict[int, int] = {}
        free: list[int] = []
        open_calls = returned = 0
        for _, step, is_invoke in events:
            if not is_invoke:
                bit = bits.pop(step.start)
                if not (yield from self._return(bit, step)):
                    return Stuck(step, returned, self._states())
                free.append(bit)
                returned += 1
            elif step.end == OPEN:
                _, same = self._classes.setdefault((step.f, step.argument), (step, []))
                same.append(1 << open_calls)
                open_calls += 1
            else:
                bit = free.pop() if free else 1 << len(bits)
                bits[step.start] = bit
                self._invoke(bit, step)
        return None

    def _states(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(state for state, _ in self._frontier))

    def _invoke(self, bit: int, step: Step) -> None:
        self._pending[bit] = step
        if step.f not in self._model.reads:
            return
        # A read changes no state, whenever it happens: where it is legal now, to wait gains nothing.
        self._pending_reads.append((bit, step))
        frontier: _Frontier = {}
        for (state, done), used in self._frontier.items():
            is_legal = self._model.step(state, step.f, step.argument, step.result) is not ILLEGAL
            frontier[state, done | bit if is_legal else done] = used
        self._work += len(frontier)
        self._frontier = frontier

    def _return(self, bit: int, step: Step) -> Generator[None, None, bool]:
        """Whether some configuration is left. If not, the frontier stays as it was before."""
        kept: _Frontier = {}
        stack: list[tuple[Any, int, int]] = []
        seen: _Frontier = {}
        for (state, done), used in self._frontier.items():
            if done & bit:
                kept.setdefault((state, done ^ bit), []).extend(used)
            else:
                stack.extend((state, done, each) for each in used)
        if stack:
            for key, used in kept.items():
                kept[key] = _smallest(used)
        while stack:
            self._extend(stack, seen, kept, bit)
            if self._work > self._turn:
                self._turn = self._work + _STEPS_A_TURN
                if sum(map(len, kept.values())) + sum(map(len, seen.values())) > self._most:
                    raise TooManyConfigurations
                yield
        self._work += 1
        if not kept:
            return False
        del self._pending[bit]
        if step.f in self._model.reads:
            self._pending_reads.remove((bit, step))
        self._frontier = kept
        self.largest = max(self.largest, len(kept))
        return True

    def _extend(self, stack: list[tuple[Any, int, int]], seen: _Frontier, kept: _Frontier, bit: int) -> None:
        """Lets one more call take effect, in every way that is legal and may be of use."""
        state, done, used = stack.pop()
        apply, reads, overwrites = self._model.step, self._model.reads, self._model.overwrites
        for other, call in self._pending.items():
            if done & other or call.f in reads:
                continue
            self._work += 1
            after = apply(state, call.f, call.argument, call.result)
            if after is not ILLEGAL:
                self._reach(stack, seen, kept, bit, (after, self._with_reads(after, done | other), used))
        for first, same in self._classes.values():
            unused = next((each for each in same if not used & each), 0)
            if not unused:
                continue
            self._work += 1
            after = apply(state, first.f, first.argument, UNKNOWN)
            if after is ILLEGAL or after == state:
                continue
            reached = self._with_reads(after, done)
            # An open call that overwrites is of use only to those who see its value: were the next to take effect an
            # overwriting one, this one could as well never happen.
            if reached != done or first.f not in overwrites or self._is_found(after, done):
                self._reach(stack, seen, kept, bit, (after, reached, used | unused))

    def _with_reads(self, state: Any, done: int) -> int:
        for other, read in self._pending_reads:
            if not done & other and self._model.step(state, read.f, read.argument, read.result) is not ILLEGAL:
                done |= other
        return done

    def _is_found(self, state: Any, done: int) -> bool:
        """Whether a call that is neither read nor overwriting, a cas, could take effect next."""
        apply, blind = self._model.step, self._model.reads | self._model.overwrites
        return any(
            apply(state, call.f, call.argument, call.result) is not ILLEGAL
            for other, call in self._pending.items()
            if call.f not in blind and not done & other
        ) or any(
            apply(state, first.f, first.argument, UNKNOWN) is not ILLEGAL
            for first, _ in self._classes.values()
            if first.f not in blind
        )

    def _reach(
        self,
        stack: list[tuple[Any, int, int]],
        seen: _Frontier,
        kept: _Frontier,
        bit: int,
        reached: tuple[Any, int, int],
    ) -> None:
        state, done, used = reached
        if done & bit:
            _add(kept, (state, done ^ bit), used)
        elif _add(seen, (state, done), used):
            stack.append(reached)


def _add(frontier: _Frontier, key: _Configuration, used: int) -> bool:
    """Whether nothing as good was there."""
    found = frontier.get(key)
    if found is None:
        frontier[key] = [used]
        return True
    for other in found:
        if other & used == other:
            return False
    found[:] = [other for other in found if used & other != used]
    found.append(used)
    return True


def _smallest(used: list[int]) -> list[int]:
    frontier: _Frontier = {}
    for each in used:
        _add(frontier, (None, 0), each)
    return frontier.get((None, 0), [])


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
