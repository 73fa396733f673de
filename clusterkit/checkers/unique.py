"""L11. Log-linear judges for histories whose written values are all different: registers, queues, sets.

In general linearizability is NP-complete; with unique values each read names its write, and sorting is enough.
Source: Gibbons & Korach 1997 "Testing Shared Memories" (registers); Henzinger, Sezgin & Vafeiadis 2013 "Aspect-Oriented
Linearizability Proofs" (queues); Lee & Mathur 2025 "Efficient Decrease-and-Conquer Linearizability Monitoring", arXiv
2410.04581 (the framework: values whose removal changes nothing, one after another).

Each gives a Refutation, None where the history is linearizable, or NOT_UNIQUE where it does not qualify.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from clusterkit.checkers.models import UNKNOWN, Marker, Step
from clusterkit.history.history import OPEN

NOT_UNIQUE: Final = Marker("NOT_UNIQUE")


@dataclass(frozen=True)
class Refutation:
    """Calls that cannot be put in any legal order, and in words why not."""

    steps: tuple[Step, ...]
    why: str


Answer = Refutation | Marker | None


def _refute(why: str, *steps: Step | None) -> Refutation:
    found = {step.start: step for step in steps if step is not None}
    return Refutation(tuple(found[start] for start in sorted(found)), why)


# --- registers ---------------------------------------------------------------------------------------------------


@dataclass
class _Cluster:
    """A value's calls: the write or cas that makes it (None: the initial value), its reads, what swaps it."""

    value: Any
    write: Step | None
    reads: list[Step] = field(default_factory=list)
    swaps: list[Step] = field(default_factory=list)


@dataclass
class _Block:
    """Clusters that cas ties together: no other write can come between. A plain cluster is a block of one.

    `first`: the call that ends first; `last`: the one that starts last. None: it is the initial value itself, which
    was there before the first call.
    """

    clusters: list[_Cluster]
    first: Step | None
    last: Step | None

    @property
    def first_end(self) -> int:
        return -1 if self.first is None else self.first.end

    @property
    def last_start(self) -> int:
        return -1 if self.last is None else self.last.start

    def evidence(self) -> list[Step | None]:
        """The first and last call, and the writes up to the values they are about."""
        wanted = {step.start for step in (self.first, self.last) if step is not None}
        writes: list[Step | None] = []
        needed: list[Step | None] = []
        for cluster in self.clusters:
            writes.append(cluster.write)
            calls = (cluster.write, *cluster.reads)
            if any(step is not None and step.start in wanted for step in calls):
                needed = list(writes)
        return [*needed, self.first, self.last]

    def __str__(self) -> str:
        return " -> ".join(str(cluster.value) for cluster in self.clusters[:1] + self.clusters[1:][-1:])


def judge_register(steps: list[Step], initial: Hashable) -> Answer:
    """Registers with read, write and cas, every written value different from all others and from the initial one.

    A value's calls form one uninterrupted block in any legal order: once overwritten, it never returns; a cas ties the
    block of its old value to that of its new one. Block A has to come before block B where a call of A ends before a
    call of B starts: where A's first end lies before B's last start. An order of the blocks exists unless two of them
    have to come before each other (Gibbons & Korach, theorem 4.3: forward zones that overlap, or a backward zone within
    a forward zone; a longer circle always has such a pair in it).
    """
    makers: dict[Any, Step] = {}
    for step in steps:
        if step.f != "read":
            value = _made(step)
            if value in makers or value == initial:
                return NOT_UNIQUE
            makers[value] = step
    clusters, refutation = _clusters(steps, makers, initial)
    refutation = refutation or _blocks(clusters)
    return _witnessed(clusters, refutation) if refutation is not None else None


def _made(step: Step) -> Any:
    return step.argument[1] if step.f == "cas" else step.argument


def _blocks(clusters: dict[Any, _Cluster]) -> Refutation | None:
    blocks: list[_Block] = []
    covered = 0
    for cluster in clusters.values():
        if len(cluster.swaps) > 1:
            return _refute(f"{cluster.value} was swapped twice, but written once", cluster.write, *cluster.swaps[:2])
        if cluster.write is None or cluster.write.f == "write":
            block = _block(clusters, cluster)
            if isinstance(block, Refutation):
                return block
            covered += len(block.clusters)
            blocks.append(block)
    if covered < len(clusters):  # a ring of cas that nothing starts
        inside = {each.value for block in blocks for each in block.clusters}
        ring = [each.write for value, each in clusters.items() if value not in inside]
        return _refute("each of these takes its old value from another of them", *ring)
    return _zones(blocks)


def _clusters(
    steps: list[Step], makers: dict[Any, Step], initial: Hashable
) -> tuple[dict[Any, _Cluster], Refutation | None]:
    """Value -> its calls, without the writes of unknown outcome that nobody saw: those need not have happened."""
    seen = _seen(steps, makers)
    clusters = {initial: _Cluster(initial, None)}
    for value, step in makers.items():
        if step.end != OPEN or value in seen:
            clusters[value] = _Cluster(value, step)
    refutation: Refutation | None = None
    for step in steps:
        if step.f == "read" or (step.f == "cas" and (step.end != OPEN or _made(step) in seen)):
            refutation = _attach(clusters, step) or refutation
    return clusters, refutation


def _seen(steps: list[Step], makers: dict[Any, Step]) -> set[Any]:
    """The values that a read returned or a cas found; a cas whose value was seen has found its old value, too."""
    seen: set[Any] = set()
    ask = [step.result for step in steps if step.f == "read"]
    ask += [step.argument[0] for step in steps if step.f == "cas" and step.end != OPEN]
    while ask:
        value = ask.pop()
        if value not in seen:
            seen.add(value)
            if value in makers and makers[value].f == "cas":
                ask.append(makers[value].argument[0])
    return seen


def _attach(clusters: dict[Any, _Cluster], step: Step) -> Refutation | None:
    """Puts a read, or a cas, to the value it found."""
    value = step.result if step.f == "read" else step.argument[0]
    cluster = clusters.get(value)
    if cluster is None:
        return _refute(f"{value} was found, but nobody wrote it", step)
    if cluster.write is not None and step.end < cluster.write.start:
        return _refute(f"{value} was found before it was written", step, cluster.write)
    if step.f == "read":
        cluster.reads.append(step)
    else:
        cluster.swaps.append(step)
    return None


def _witnessed(clusters: dict[Any, _Cluster], refutation: Refutation) -> Refutation:
    """With what shows that its writes of unknown outcome took effect: who read the value, or swapped it."""
    steps = list(refutation.steps)
    found = {step.result for step in steps if step.f == "read"}
    found |= {step.argument[0] for step in steps if step.f == "cas" and step.end != OPEN}
    for step in steps:  # it grows as it is walked: a witness may need one of its own
        if step.end == OPEN and step.f != "read" and _made(step) not in found:
            cluster = clusters[_made(step)]
            found.add(_made(step))
            steps += cluster.reads[:1] or sorted(cluster.swaps, key=lambda each: each.end)[:1]
    return _refute(refutation.why, *steps)


def _block(clusters: dict[Any, _Cluster], head: _Cluster) -> _Block | Refutation:
    """Follows the cas from value to value; write, reads, cas, reads ... have to fit real time in this order."""
    block = _Block([], head.write, head.write)
    latest: Step | None = None  # among all calls so far, the one that starts last
    first_end, last_start = block.first_end, block.last_start
    cluster: _Cluster | None = head
    while cluster is not None:
        block.clusters.append(cluster)
        for group in ([cluster.write] if cluster.write is not None else [], cluster.reads):
            if latest is not None:
                for step in group:
                    if step.end < latest.start:
                        return _refute(
                            f"the value went from {head.value} to {cluster.value}, but the one who found it later had "
                            "returned before the one who found it earlier began",
                            *(each.write for each in block.clusters), latest, step,
                        )  # fmt: skip
            for step in group:
                if step.end < first_end:
                    first_end, block.first = step.end, step
                if step.start > last_start:
                    last_start, block.last = step.start, step
                if latest is None or step.start > latest.start:
                    latest = step
        cluster = clusters[_made(cluster.swaps[0])] if cluster.swaps else None
    return block


def _zones(blocks: list[_Block]) -> Refutation | None:
    """Refuted by two blocks of which each has to come before the other."""
    forward = sorted((block for block in blocks if block.first_end < block.last_start), key=lambda each: each.first_end)
    for one, other in pairwise(forward):
        if other.first_end < one.last_start:
            return _refute(_both(one, other), *one.evidence(), *other.evidence())
    ends = [block.first_end for block in forward]
    for block in blocks:
        if block.first_end >= block.last_start:
            at = bisect_left(ends, block.last_start) - 1
            if at >= 0 and block.first_end < forward[at].last_start:
                return _refute(_both(forward[at], block), *forward[at].evidence(), *block.evidence())
    return None


def _both(one: _Block, other: _Block) -> str:
    return (
        f"a call that saw {one} ended before one that saw {other} began, and the other way round: "
        "each had to be the value before the other was, but neither was written twice"
    )


# --- queues ------------------------------------------------------------------------------------------------------


def judge_queue(steps: list[Step], initial: tuple[Hashable, ...]) -> Answer:
    """Queues whose elements are all different. Linearizable unless one of these is found:

    an element leaves that never came, or twice, or before it came; a came before b, yet b left and a did not, or left
    later; the queue was found empty while, at every moment of that call, some element was surely in it.

    A dequeue of unknown outcome may have taken any element. Where nobody found the queue empty, it only helps to give
    it to an element that has to leave soon; elements with deadlines and dequeues with starts are matched in order.
    """
    enqueues: dict[Any, Step] = {}
    for step in steps:
        if step.f == "enqueue":
            if step.argument in enqueues or step.argument is None:
                return NOT_UNIQUE
            enqueues[step.argument] = step
    taken = [step for step in steps if step.f == "dequeue"]
    unknown = [step for step in taken if step.result is UNKNOWN]
    empty = [step for step in taken if step.result is None]
    if initial or (unknown and empty):
        return NOT_UNIQUE
    dequeues: dict[Any, Step] = {}
    for step in taken:
        value = step.result
        if value is UNKNOWN or value is None:
            continue
        came = enqueues.get(value)
        if came is None:
            return _refute(f"{value} left the queue, but nobody put it there", step)
        if step.end < came.start:
            return _refute(f"{value} left the queue before it came", came, step)
        if value in dequeues:
            return _refute(f"{value} left the queue twice, but came once", came, dequeues[value], step)
        dequeues[value] = step
    elements = [
        _Element(value, came, dequeues.get(value))
        for value, came in enqueues.items()
        if came.end != OPEN or value in dequeues
    ]
    return _order(elements, unknown) or _found_empty(elements, empty)


@dataclass(frozen=True)
class _Element:
    value: Any
    came: Step
    left: Step | None

    @property
    def left_start(self) -> int:
        return OPEN if self.left is None else self.left.start


def _order(elements: list[_Element], unknown: list[Step]) -> Refutation | None:
    """Sweeps over time: of all elements that had surely come before b came, none may leave surely after b left.

    Those among them that nobody saw leave are `waiting`: b's leaving proves them gone.
    """
    by_end = sorted(elements, key=lambda each: each.came.end)
    by_start = sorted((each for each in elements if each.left is not None), key=lambda each: each.came.start)
    latest: _Element | None = None
    waiting: list[_Element] = []
    at = 0
    for each in by_start:
        assert each.left is not None
        while at < len(by_end) and by_end[at].came.end < each.came.start:
            before = by_end[at]
            at += 1
            if before.left is None:
                waiting.append(before)
            elif latest is None or before.left_start > latest.left_start:
                latest = before
        if latest is not None and latest.left is not None and latest.left_start > each.left.end:
            return _refute(
                f"{latest.value} came before {each.value}, but left after it",
                latest.came,
                latest.left,
                each.came,
                each.left,
            )
    return _unseen(waiting, by_start, unknown)


def _unseen(waiting: list[_Element], by_start: list[_Element], unknown: list[Step]) -> Refutation | None:
    """Elements that must have left, but that nobody saw leave: each needs a dequeue of unknown outcome of its own."""
    needs: list[tuple[int, _Element, _Element]] = []
    at = len(by_start)
    earliest: _Element | None = None
    for each in sorted(waiting, key=lambda each: -each.came.end):
        while at > 0 and by_start[at - 1].came.start > each.came.end:
            at -= 1
            after = by_start[at]
            if earliest is None or _left_end(after) < _left_end(earliest):
                earliest = after
        assert earliest is not None
        needs.append((_left_end(earliest), each, earliest))
    needs.sort(key=lambda need: need[0])
    starts = sorted(unknown, key=lambda step: step.start)
    for place, (deadline, each, after) in enumerate(needs):
        if place >= len(starts) or starts[place].start > deadline:
            told = needs[: place + 1] if starts and starts[0].start < deadline else [needs[place]]
            evidence = [step for _, one, by in told for step in (one.came, by.came, by.left)]
            able = [step for step in starts if step.start < deadline]
            lost = ", ".join(str(one.value) for _, one, _ in told)
            them = "it" if len(told) == 1 else "all of them"
            why = f"{lost} came before {after.value}, which left; but nobody saw {them} leave"
            return _refute(why, each.came, *evidence, *able)
    return None


def _left_end(element: _Element) -> int:
    assert element.left is not None
    return element.left.end


def _found_empty(elements: list[_Element], empty: list[Step]) -> Refutation | None:
    """Each empty answer needs a moment in its call in which no element was surely there.

    An element is surely there from the end of its enqueue to the start of its dequeue. The union of these times is
    walked once; a call is refuted when one piece of it covers the call from start to end.
    """
    if not empty:
        return None
    there = sorted((each for each in elements if each.came.end < each.left_start), key=lambda each: each.came.end)
    pieces: list[tuple[int, int, list[_Element]]] = []
    for each in there:
        begin, end = each.came.end, each.left_start
        if pieces and begin < pieces[-1][1]:
            if end > pieces[-1][1]:
                pieces[-1][2].append(each)
                pieces[-1] = (pieces[-1][0], end, pieces[-1][2])
        else:
            pieces.append((begin, end, [each]))
    begins = [piece[0] for piece in pieces]
    for step in empty:
        at = bisect_left(begins, step.start) - 1
        if at >= 0 and pieces[at][1] > step.end:
            chain = [one for one in pieces[at][2] if one.left_start > step.start and one.came.end < step.end]
            names = ", ".join(str(one.value) for one in chain)
            return _refute(
                f"the queue was found empty, but all the while {names} was in it",
                step, *(each for one in chain for each in (one.came, one.left)),
            )  # fmt: skip
    return None


# --- sets --------------------------------------------------------------------------------------------------------


def judge_set(steps: list[Step], initial: frozenset[Hashable]) -> Answer:
    """Sets that only grow, each element added once, read as a whole.

    The reads have to be a chain: of two, one holds all that the other holds. The chain fixes the order of reads and of
    the adds between them; it is legal if nothing stands behind what started after its end.
    """
    adds: dict[Any, Step] = {}
    reads: list[Step] = []
    for step in steps:
        if step.f == "add" and step.argument not in adds and step.argument not in initial:
            adds[step.argument] = step
        elif step.f == "read":
            reads.append(step)
        else:
            return NOT_UNIQUE
    reads.sort(key=lambda step: len(step.result))
    placed: list[tuple[int, Step]] = []
    level = 0
    before: frozenset[Any] = initial
    reader: Step | None = None
    for read in reads:
        if read.result != before:
            if missing := before - read.result:
                return _not_a_chain(missing, read, reader, adds)
            level += 1
            for value in read.result - before:
                if value not in adds:
                    return _refute(f"{value} was read, but nobody added it", read)
                placed.append((2 * level - 1, adds[value]))
            before, reader = read.result, read
        placed.append((2 * level, read))
    late = 2 * level + 1
    placed += [(late, step) for value, step in adds.items() if value not in before and step.end != OPEN]
    placed.sort(key=lambda each: each[0])
    return _backwards(placed)


def _not_a_chain(missing: Iterable[Any], read: Step, reader: Step | None, adds: dict[Any, Step]) -> Refutation:
    lost = min(missing, key=repr)
    if reader is None:
        return _refute(f"{lost} was there from the start, but a read misses it", read)
    more = min(read.result - reader.result, key=repr)
    why = f"one read holds {lost} without {more}, another {more} without {lost}"
    return _refute(why, adds.get(lost), adds.get(more), reader, read)


def _backwards(placed: list[tuple[int, Step]]) -> Refutation | None:
    latest: tuple[int, Step] | None = None
    at = 0
    while at < len(placed):
        group = at
        while group < len(placed) and placed[group][0] == placed[at][0]:
            group += 1
        if latest is not None:
            for place, step in placed[at:group]:
                if step.end < latest[1].start:
                    return _told(latest, (place, step), placed)
        for place, step in placed[at:group]:
            if latest is None or step.start > latest[1].start:
                latest = (place, step)
        at = group
    return None


def _told(early: tuple[int, Step], late: tuple[int, Step], placed: list[tuple[int, Step]]) -> Refutation:
    """`late` ended before `early` began, but what was read puts it behind."""
    (early_place, one), (late_place, other) = early, late
    between = next((step for place, step in placed if early_place < place < late_place and step.f == "read"), None)
    if one.f == "add" and other.f == "read":
        return _refute(f"{one.argument} was read before it was added", other, one)
    if one.f == "read" and other.f == "add":
        return _refute(f"{other.argument} had been added, but a later read misses it", other, one)
    if one.f == "read":
        gone = min(other.result - one.result, key=repr)
        add = next(step for _, step in placed if step.f == "add" and step.argument == gone)
        return _refute(f"{gone} was read, but a later read misses it", add, other, one)
    why = f"{other.argument} was added before {one.argument}, but a read holds {one.argument} without {other.argument}"
    return _refute(why, other, one, between)
