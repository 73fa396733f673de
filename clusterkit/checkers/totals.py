"""L11. Sums that have to come out right: counters and banks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from clusterkit.checkers.base import Validity, Verdict, combine, indices_of, lines_of
from clusterkit.history.history import OPEN, Call, History, by_key
from clusterkit.history.op import OpType


@dataclass(frozen=True)
class CounterBounds:
    """Each read of a counter lies between what it must and what it may have counted by then.

    Must: all adds that were acknowledged before the read began (of negative ones: all that had begun before it ended).
    May: all adds that had begun before it ended (of negative ones: those acknowledged before it began).
    Sees: lost adds, adds counted twice, once the sum leaves the bounds. Cannot see: a loss that an unanswered add makes
    up for; reads that go backwards within the bounds (Linearizable does). `initial` is the value before the first add.
    With `may_lose` a read may have counted nothing yet.

    Calls: `add` n (1 where none is given), `read` -> n.
    """

    initial: int = 0
    may_lose: bool = False
    name: str = "counter"

    def check(self, history: History) -> Verdict:
        keys = by_key(history.calls("add", "read"))
        verdicts = [self._judge(key, calls) for key, calls in keys.items()]
        return verdicts[0] if len(verdicts) == 1 else combine(self.name, verdicts)

    def _judge(self, key: Hashable, calls: list[Call]) -> Verdict:
        adds = [call for call in calls if call.f == "add" and call.outcome is not OpType.FAIL]
        reads = [call for call in calls if call.f == "read" and call.is_ok]
        numbers: dict[str, Any] = {
            "adds": len(adds),
            "acknowledged": sum(add.is_ok for add in adds),
            "reads": len(reads),
        }
        if not reads:
            return Verdict(self.name, Validity.UNKNOWN, "the counter was never read", numbers=numbers)
        up, down = _Sums(add for add in adds if _amount(add) >= 0), _Sums(add for add in adds if _amount(add) < 0)
        wrong: list[tuple[Call, int, int]] = []
        for read in reads:
            must = 0 if self.may_lose else up.ended_before(read.start)
            low = self.initial + must + down.begun_before(read.end)
            high = self.initial + up.begun_before(read.end) + down.ended_before(read.start)
            if not low <= read.result <= high:
                wrong.append((read, low, high))
        numbers["reads out of bounds"] = len(wrong)
        if not wrong:
            text = f"all {len(reads)} reads lie within their bounds"
            return Verdict(self.name, Validity.VALID, text, numbers=numbers)
        read, low, high = wrong[0]
        where = "" if key is None else f"key {key}: "
        text = f"{where}a read gave {read.result}, but it had to be from {low} to {high}"
        lines = (*lines_of([read]), f"acknowledged before it: {low - self.initial} in sum; begun before its end: "
                 f"{high - self.initial}")  # fmt: skip
        return Verdict(self.name, Validity.INVALID, text, lines, indices_of(each for each, _, _ in wrong), numbers)


def _amount(add: Call) -> int:
    amount = 1 if add.argument is None else add.argument
    assert isinstance(amount, int), f"add {amount!r} at op {add.start} is no whole number"
    return amount


class _Sums:
    """Sums of adds by time."""

    def __init__(self, adds: Iterable[Call]) -> None:
        adds = list(adds)
        self._starts = [add.start for add in adds]
        self._begun = [0, *accumulate(map(_amount, adds))]
        ended = sorted((add for add in adds if add.end != OPEN), key=lambda add: add.end)
        self._ends = [add.end for add in ended]
        self._ended = [0, *accumulate(map(_amount, ended))]

    def begun_before(self, moment: int) -> int:
        return self._begun[bisect_left(self._starts, moment)]

    def ended_before(self, moment: int) -> int:
        return self._ended[bisect_right(self._ends, moment)]


@dataclass(frozen=True)
class BankTotals:
    """Each read of all accounts sums to the same total, names the accounts there are, and shows no debt.

    Sees: money made or lost (a transfer that was half done when it was read, or done twice on one side), accounts
    missing, balances below zero (unless `may_owe`). Cannot see: a stale or reordered view whose sum is right
    (Linearizable does); money in accounts that reads leave out. Without `initial` the first read sets the total.

    Calls: `transfer` {from, to, amount}, `read` -> {account: balance}.
    """

    initial: Mapping[Any, int] | None = None
    may_owe: bool = False
    name: str = "bank"

    def check(self, history: History) -> Verdict:
        reads = [call for call in history.calls("read") if call.is_ok]
        numbers: dict[str, Any] = {"reads": len(reads), "transfers": len(history.calls("transfer"))}
        if not reads:
            return Verdict(self.name, Validity.UNKNOWN, "the accounts were never read", numbers=numbers)
        expected = _named(self.initial if self.initial is not None else reads[0].result)
        total = sum(expected.values())
        wrong: list[tuple[Call, str]] = []
        for read in reads:
            why = self._wrong(_named(read.result), expected, total)
            if why:
                wrong.append((read, why))
        numbers |= {"total": total, "wrong reads": len(wrong)}
        if not wrong:
            return Verdict(self.name, Validity.VALID, f"all {len(reads)} reads sum to {total}", numbers=numbers)
        evidence = [wrong[0][0]] if self.initial is not None else [reads[0], wrong[0][0]]
        indices = indices_of(read for read, _ in wrong)
        return Verdict(self.name, Validity.INVALID, wrong[0][1], lines_of(evidence), indices, numbers)

    def _wrong(self, balances: Mapping[str, int], expected: Mapping[str, int], total: int) -> str:
        if balances.keys() != expected.keys():
            odd = ", ".join(sorted(balances.keys() ^ expected.keys()))
            return f"a read and the accounts there are differ in: {odd}"
        if sum(balances.values()) != total:
            return f"a read sums to {sum(balances.values())}, but there was {total}"
        owing = [account for account, balance in balances.items() if balance < 0]
        return f"a read shows {owing[0]} at {balances[owing[0]]}" if owing and not self.may_owe else ""


def _named(balances: Mapping[Any, int]) -> dict[str, int]:
    return {str(account): balance for account, balance in balances.items()}
