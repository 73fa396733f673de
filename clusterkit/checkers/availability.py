"""L11. How long was it gone, how soon was a fault noticed, how soon was service back?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clusterkit.checkers.base import Validity, Verdict
from clusterkit.history.history import Call, History
from clusterkit.history.op import NEMESIS, OBSERVER, PEEK, Op, OpType

_CONDITIONAL = ("cas", "transfer")


@dataclass(frozen=True)
class Gap:
    """A time without an ok while calls were tried: seconds since the start of the run."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s


@dataclass(frozen=True)
class Availability:
    """The longest time without an ok while calls were tried; for each fault, when it was noticed and service was back.

    Sees: outages of the service as its clients saw them. Cannot see: slowness (latency has its own picture), outages
    between two calls, or of nodes that no client asked. `at_most_s`: invalid where a gap is longer; without it, this
    only measures, and is valid wherever anything was ok.

    For each fault (from its inject by the nemesis to its heal, or to the end), in seconds after the inject, None where
    it did not happen: `first error` (a `cas` or `transfer` that fails without an error is none: its condition did not
    hold), `new leader` (the observer's first entry of another leader than before, until the next fault), `back` (the
    end of the longest gap that overlaps the fault; the gap itself is `gone`).
    """

    at_most_s: float | None = None
    name: str = "availability"

    def check(self, history: History) -> Verdict:
        calls = [call for call in history.calls() if call.f != PEEK]
        oks = [call for call in calls if call.is_ok]
        numbers: dict[str, Any] = {"calls": len(calls), "ok": len(oks)}
        if not oks:
            return Verdict(self.name, Validity.UNKNOWN, "no call was ok: nothing to judge", numbers=numbers)
        found = gaps(calls)
        longest = max(found, key=lambda gap: gap.seconds)
        numbers["longest time without an ok, s"] = round(longest.seconds, 3)
        numbers["faults"] = _faults(history, calls, found)
        text = f"at most {longest.seconds:.3f} s without an ok, from {longest.begin_s:.3f} s to {longest.end_s:.3f} s"
        if self.at_most_s is not None and longest.seconds > self.at_most_s:
            text += f"; {self.at_most_s:g} s were allowed"
            return Verdict(self.name, Validity.INVALID, text, numbers=numbers)
        return Verdict(self.name, Validity.VALID, text, numbers=numbers)


def gaps(calls: list[Call]) -> list[Gap]:
    """The times between one ok and the next, or to the last thing tried; each begins when somebody first tried.

    A pause of the workload is no outage: a gap begins with the first call that was under way or begun in it.
    """
    events: list[tuple[int, int, bool]] = []
    for call in calls:
        events.append((call.start, call.invoke.time_ns, False))
        if call.completion is not None:
            events.append((call.completion.index, call.completion.time_ns, call.is_ok))
    events.sort()
    invokes = {call.start for call in calls}
    under_way = 0
    since: int | None = None
    found: list[Gap] = []
    for index, time_ns, is_ok in events:
        if index in invokes:
            under_way += 1
            since = time_ns if since is None else since
            continue
        under_way -= 1
        if is_ok and since is not None:
            found.append(Gap(since / 1e9, time_ns / 1e9))
            since = time_ns if under_way else None
    if since is not None:
        found.append(Gap(since / 1e9, events[-1][1] / 1e9))
    return found


def _faults(history: History, calls: list[Call], gone: list[Gap]) -> dict[str, dict[str, Any]]:
    """Fault -> its times. The nemesis' key names the fault."""
    found: dict[str, dict[str, Any]] = {}
    facts = history.facts(NEMESIS)
    leaders = [op for op in history.facts(OBSERVER) if op.f == "leader" and op.value is not None]
    errors = [done for call in calls if (done := call.completion) is not None and _is_error(done)]
    end = history[-1].time_ns
    for op in facts:
        if op.f == "inject":
            healed = next((other for other in facts if _is_heal(other, op)), None)
            until = end if healed is None else healed.time_ns
            during = [gap for gap in gone if gap.end_s * 1e9 > op.time_ns and gap.begin_s * 1e9 < until]
            worst = max(during, key=lambda gap: gap.seconds, default=None)
            found[str(op.key)] = {
                "from_s": op.time_ns / 1e9,
                "to_s": until / 1e9,
                "first error": _after(op, errors, until),
                "new leader": _after(op, _others(op, leaders), _next(op, facts, until, end)),
                "gone": None if worst is None else round(worst.seconds, 3),
                "back": None if worst is None else round(max(0.0, worst.end_s - op.time_ns / 1e9), 3),
            }
    return found


def _is_error(done: Op) -> bool:
    is_unmet = done.type is OpType.FAIL and done.f in _CONDITIONAL and not done.error
    return done.type is not OpType.OK and not is_unmet


def _next(inject: Op, facts: list[Op], healed: int, end: int) -> int:
    """When the first fault began after this one was healed: a leader that comes later came of that one."""
    return min((op.time_ns for op in facts if op.f == "inject" and op.key != inject.key and op.time_ns > healed),
               default=end)  # fmt: skip


def _others(inject: Op, leaders: list[Op]) -> list[Op]:
    """The entries of other leaders than each component had when the fault came."""
    before = {op.key: op.value for op in leaders if op.index < inject.index}
    return [op for op in leaders if op.value != before.get(op.key)]


def _is_heal(op: Op, inject: Op) -> bool:
    return op.f == "heal" and op.key == inject.key and op.index > inject.index and op.type is OpType.INFO


def _after(inject: Op, ops: list[Op], until: int) -> float | None:
    times = [op.time_ns for op in ops if op.index > inject.index and op.time_ns <= until]
    return round((min(times) - inject.time_ns) / 1e9, 3) if times else None
