"""L11. What became of each element that was added or enqueued: lost, stale, doubled, from nowhere?"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterkit.checkers.base import Validity, Verdict, combine, indices_of, lines_of, some
from clusterkit.history.history import Call, History, by_key
from clusterkit.history.op import OpType, hashable

_MOST_SHOWN = 3


@dataclass(frozen=True)
class SetElements:
    """Each element of a set, from its add to the last read (as Jepsen's set-full does).

    Sees: `lost` (acknowledged, or read once, and missing from the last read), `stale` (missing from a read that began
    after it was acknowledged or read, and back later), `resurrected` (removed, and read again), `duplicated` (twice in
    one read), `unexpected` (read, but never added, or the add failed); counts `recovered` (outcome unknown, and there)
    and `never read`. Stale elements are an anomaly only with `must_be_fresh`: many systems promise no more;
    lost ones are only counted with `may_lose`.
    Cannot see: the order of adds; elements that went missing between two reads; with one read, stale ones; anything of
    an element that is added again after it was removed, but its being unexpected or doubled.

    Calls: `add` x, `remove` x, `read` -> all elements. Time: the sizes of all reads together.
    """

    must_be_fresh: bool = False
    may_lose: bool = False
    name: str = "set"

    def check(self, history: History) -> Verdict:
        keys = by_key(history.calls("add", "remove", "read"))
        return _one_or_all(self.name, [self._judge(key, calls) for key, calls in keys.items()])

    def _judge(self, key: Hashable, calls: list[Call]) -> Verdict:
        reads = [call for call in calls if call.f == "read" and call.is_ok]
        seen = _Reads(reads)
        adds: dict[Hashable, Call] = {}
        added_again: set[Hashable] = set()
        for call in calls:
            if call.f == "add":
                value = hashable(call.argument)
                if value in adds and adds[value].outcome is not OpType.FAIL:
                    added_again.add(value)
                else:
                    adds[value] = call
        removes = {hashable(call.argument): call for call in reversed(calls) if _may_remove(call)}
        fate = _Fates()
        fate.duplicated = [(value, [adds.get(value), read]) for value, read in seen.doubled.items()]
        for value, add in adds.items():
            if seen.is_never_missing(value, add) and not removes:
                continue
            remove = removes.get(value)
            if remove is not None and value in added_again:
                continue
            self._follow(value, add, remove, seen, fate)
        fate.unexpected += [(value, [seen.reads[at]]) for value, at in seen.first.items() if value not in adds]
        numbers = {"attempted": len(adds), "acknowledged": sum(add.is_ok for add in adds.values()), "reads": len(reads)}
        return self._tell(key, numbers, fate)

    def _follow(self, value: Hashable, add: Call, remove: Call | None, seen: _Reads, fate: _Fates) -> None:
        """Known: from then on every read has to show it. `count`: how many of those reads do."""
        first = seen.first.get(value)
        if add.outcome is OpType.FAIL:
            if first is not None:
                fate.unexpected.append((value, [add, seen.reads[first]]))
            return
        shown_by = seen.soonest.get(value)
        by_read = shown_by is not None and (not add.is_ok or shown_by.end < add.end)
        if not add.is_ok and shown_by is None:
            return
        if first is not None and not add.is_ok:
            fate.recovered += 1
        if remove is not None:
            self._gone(value, add, remove, seen, fate)
            return
        known = shown_by.end if shown_by is not None and by_read else add.end
        shows = [shown_by] if by_read else []
        begin = bisect_right(seen.starts, known)
        due = len(seen.reads) - begin
        if not due and first is None:
            fate.never_read += 1
        elif due:
            last = seen.last.get(value, -1)
            missing = due - seen.count_from(value, begin)
            if last < len(seen.reads) - 1:
                fate.lost.append((value, [add, *shows, seen.reads[-1]]))
            elif missing:
                without = next(read for at, read in enumerate(seen.reads) if at >= begin and not seen.has(at, value))
                fate.stale.append((value, [add, *shows, without]))

    def _gone(self, value: Hashable, add: Call, remove: Call, seen: _Reads, fate: _Fates) -> None:
        last = seen.last.get(value)
        if last is not None and remove.is_ok and add.end < remove.start and seen.reads[last].start > remove.end:
            fate.resurrected.append((value, [add, remove, seen.reads[last]]))

    def _tell(self, key: Hashable, numbers: dict[str, Any], fate: _Fates) -> Verdict:
        kinds = {
            "lost": fate.lost,
            "resurrected": fate.resurrected,
            "unexpected": fate.unexpected,
            "duplicated": fate.duplicated,
            "stale": fate.stale,
        }
        accepted = {"stale": not self.must_be_fresh, "lost": self.may_lose}
        bad = [kind for kind in kinds if not accepted.get(kind)]
        numbers |= {kind: len(found) for kind, found in kinds.items()}
        numbers |= {"recovered": fate.recovered, "never read": fate.never_read}
        if numbers["attempted"] and not numbers["reads"]:
            return Verdict(self.name, Validity.UNKNOWN, _at(key, "the set was never read"), numbers=numbers)
        return _verdict(self.name, key, {kind: kinds[kind] for kind in bad}, numbers)


@dataclass
class _Fates:
    """By kind: elements, each with the calls that show it."""

    lost: list[tuple[Hashable, Sequence[Call | None]]] = field(default_factory=list)
    stale: list[tuple[Hashable, Sequence[Call | None]]] = field(default_factory=list)
    resurrected: list[tuple[Hashable, Sequence[Call | None]]] = field(default_factory=list)
    duplicated: list[tuple[Hashable, Sequence[Call | None]]] = field(default_factory=list)
    unexpected: list[tuple[Hashable, Sequence[Call | None]]] = field(default_factory=list)
    recovered: int = 0
    never_read: int = 0


class _Reads:
    """The ok reads in the order of their invokes, and for each element the first and last that show it.

    Which reads show an element is asked for again only for the few that are missing somewhere.
    """

    def __init__(self, reads: list[Call]) -> None:
        self.reads = reads
        self.starts = [read.start for read in reads]
        self.first: dict[Hashable, int] = {}
        self.last: dict[Hashable, int] = {}
        self.soonest: dict[Hashable, Call] = {}
        """Element -> of the reads that show it, the one that ended first."""
        self.doubled: dict[Hashable, Call] = {}
        self._shown: list[frozenset[Hashable]] = []
        self._total: Counter[Hashable] = Counter()
        for at, read in enumerate(reads):
            elements = _elements(read.result)
            shown = frozenset(elements)
            if len(shown) < len(elements):
                self.doubled |= {value: read for value, times in Counter(elements).items() if times > 1}
            self._shown.append(shown)
            self.last.update(dict.fromkeys(shown, at))
            self._total.update(shown)
        for at in reversed(range(len(reads))):
            self.first.update(dict.fromkeys(self._shown[at], at))
        for read, shown in sorted(zip(reads, self._shown, strict=True), key=lambda each: -each[0].end):
            self.soonest.update(dict.fromkeys(shown, read))

    def is_never_missing(self, value: Hashable, add: Call) -> bool:
        """The quick answer for almost all elements: acknowledged after the last read that misses it had begun."""
        first = self.first.get(value)
        completion = add.completion
        if first is None or completion is None or completion.type is not OpType.OK:
            return False
        count = len(self.reads)
        is_there_to_the_end = self.last[value] == count - 1 and self._total[value] == count - first
        if not is_there_to_the_end or first == 0:
            return is_there_to_the_end
        return self.starts[first - 1] < min(completion.index, self.soonest[value].end)

    def has(self, at: int, value: Hashable) -> bool:
        return value in self._shown[at]

    def count_from(self, value: Hashable, begin: int) -> int:
        """How many reads from the place `begin` on show it."""
        first = self.first.get(value)
        if first is None:
            return 0
        if first >= begin:
            return self._total[value]
        return sum(value in shown for shown in self._shown[begin:])


def _elements(result: Any) -> list[Hashable]:
    try:
        hash(tuple(result or ()))
    except TypeError:
        return [hashable(item) for item in result]
    return list(result or ())


def _may_remove(call: Call) -> bool:
    return call.f == "remove" and call.outcome is not OpType.FAIL


@dataclass(frozen=True)
class QueueElements:
    """Each element of a queue, from its enqueue to its dequeue, whatever the order.

    Sees: `lost` (acknowledged, and gone though the queue was found empty or drained afterwards), `duplicated` (left
    more often than it came), `unexpected` (left, but never came, or its enqueue failed); counts `recovered` (outcome
    unknown, and left). Cannot see: wrong order (Linearizable does); losses while nobody proved the queue empty; and a
    dequeue without an answer may have taken one element, a drain any number: `taken unseen` are not called lost.
    With `may_lose` lost elements are only counted.

    Calls: `enqueue` x, `dequeue` -> x or nothing, `drain` -> [x, ...].
    """

    may_lose: bool = False
    name: str = "queue"

    def check(self, history: History) -> Verdict:
        keys = by_key(history.calls("enqueue", "dequeue", "drain"))
        return _one_or_all(self.name, [self._judge(key, calls) for key, calls in keys.items()])

    def _judge(self, key: Hashable, calls: list[Call]) -> Verdict:
        came: dict[Hashable, list[Call]] = {}
        left: dict[Hashable, list[Call]] = {}
        empty_at, unseen = -1, 0.0
        for call in calls:
            if call.f == "enqueue":
                came.setdefault(hashable(call.argument), []).append(call)
                continue
            if call.outcome is OpType.INFO:
                unseen += float("inf") if call.f == "drain" else 1
            elif call.is_ok:
                taken = list(call.result or ()) if call.f == "drain" else [call.result]
                if call.f == "drain" or call.result is None:
                    empty_at = max(empty_at, call.start)
                for value in taken:
                    if value is not None:
                        left.setdefault(hashable(value), []).append(call)
        able = {value: [c for c in its if c.outcome is not OpType.FAIL] for value, its in came.items()}
        lost = [
            (value, [call])
            for value, its in able.items()
            if value not in left
            for call in its
            if call.is_ok and call.end < empty_at
        ]
        duplicated = [
            (value, [*able[value], *its]) for value, its in left.items() if len(its) > len(able.get(value, ())) > 0
        ]
        unexpected = [(value, [*came.get(value, ()), *its]) for value, its in left.items() if not able.get(value)]
        numbers: dict[str, Any] = {
            "attempted": sum(map(len, came.values())),
            "acknowledged": sum(call.is_ok for its in came.values() for call in its),
            "dequeued": sum(map(len, left.values())),
            "recovered": sum(
                not any(call.is_ok for call in its) for value, its in able.items() if its and value in left
            ),
            "taken unseen": len(lost) if unseen >= len(lost) else 0,
        }
        if empty_at >= 0 and unseen < len(lost):
            emptied = next(call for call in calls if call.start == empty_at)
            shown = [(value, [*its, emptied]) for value, its in lost]
        else:
            shown = []
        kinds = {"lost": shown, "duplicated": duplicated, "unexpected": unexpected}
        numbers |= {kind: len(found) for kind, found in kinds.items()}
        if self.may_lose:
            kinds["lost"] = []
        if not any(kinds.values()) and (empty_at < 0 or (lost and unseen == float("inf"))):
            why = "nobody found the queue empty" if empty_at < 0 else "a drain has no answer"
            text = _at(key, f"{why}: what is missing may still be there")
            return Verdict(self.name, Validity.UNKNOWN, text, numbers=numbers)
        return _verdict(self.name, key, kinds, numbers)


def _at(key: Hashable, text: str) -> str:
    return text if key is None else f"key {key}: {text}"


def _one_or_all(name: str, verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of all keys, with the sums of their numbers."""
    if len(verdicts) == 1:
        return verdicts[0]
    whole = combine(name, verdicts)
    sums: Counter[str] = Counter()
    for verdict in verdicts:
        sums.update(verdict.numbers)
    text = f"{len(verdicts)} keys" if whole.validity is Validity.VALID else whole.text
    return Verdict(name, whole.validity, text, whole.evidence, whole.indices, dict(sums), whole.parts)


def _verdict(
    name: str,
    key: Hashable,
    kinds: dict[str, Any],
    numbers: dict[str, Any],
) -> Verdict:
    """Invalid when any kind has elements; the evidence shows a few of each."""
    if not numbers["attempted"]:
        return Verdict(name, Validity.UNKNOWN, _at(key, "nothing was added: nothing to judge"), numbers=numbers)
    words, lines, calls = [], [], []
    for kind, found in kinds.items():
        if found:
            words.append(f"{len(found)} {kind}: {some(value for value, _ in found)}")
            for value, shown in found[:_MOST_SHOWN]:
                its = [call for call in shown if call is not None]
                lines += [f"{kind} {value}:", *(f"  {line}" for line in lines_of(its))]
            calls += [call for _, shown in found for call in shown if call is not None]
    if not words:
        text = _at(key, f"all {numbers['acknowledged']} acknowledged elements are accounted for")
        return Verdict(name, Validity.VALID, text, numbers=numbers)
    return Verdict(name, Validity.INVALID, _at(key, "; ".join(words)), tuple(lines), indices_of(calls), numbers)
