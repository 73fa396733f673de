"""L12, pure. From the history of a run to its verdicts: the same for a run that has just ended and for a stored one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterkit.checkers.availability import Availability
from clusterkit.checkers.base import Validity, Verdict, combine, judge
from clusterkit.checkers.convergence import Convergence
from clusterkit.history.history import History
from clusterkit.history.op import NEMESIS, OBSERVER, PEEK
from clusterkit.units import Duration, Rate
from clusterkit.workloads.base import Expect, Workload, WorkloadSpec
from clusterkit.workloads.kinds import KINDS

TRIAL = "trial"
"""The process that leads a run. `f` is phase, recovery, interrupted or bug."""

PHASES = ("steady", "faults", "heal", "settle", "final reads", "check")


@dataclass(frozen=True)
class Judged:
    """The verdict of a run: `parts`, one for each checker; `reasons` why nothing can be concluded where all is well.

    Invalid outranks unknown, unknown outranks valid.
    """

    validity: Validity
    text: str
    parts: tuple[Verdict, ...]
    reasons: tuple[str, ...]

    @property
    def evidence(self) -> tuple[str, ...]:
        return tuple(line for part in self.parts if part.validity is self.validity for line in part.evidence)


def judge_run(history: History, workload: Workload, expect: Expect, more: tuple[Verdict, ...] = ()) -> Judged:
    """`more`: verdicts on what is not in the history (logs)."""
    checkers = [*workload.checkers(expect)]
    if expect.converges and workload.peeks():
        checkers.append(Convergence(is_set=workload.kind == "set"))
    available = judge(Availability(expect.unavailable_s), _before_settling(history))
    parts = (*(judge(checker, history) for checker in checkers), available, *_recovery(history), *more)
    reasons = tuple(_reasons(history, expect))
    whole = combine("run", parts)
    if whole.validity is Validity.VALID and reasons:
        return Judged(Validity.UNKNOWN, "; ".join(reasons), parts, reasons)
    if whole.validity is Validity.VALID:
        return Judged(Validity.VALID, _praise(history, expect, workload, parts), parts, ())
    return Judged(whole.validity, whole.text, parts, reasons)


def workload_of(said: Mapping[str, Any]) -> Workload:
    """The workload of a run, from its run.json. Raises: KeyError, ValueError where that is not one of ours."""
    spec = WorkloadSpec(
        kind=str(said["kind"]),
        component=str(said["component"]),
        keys=int(said["keys"]),
        mix={str(f): int(share) for f, share in said["mix"].items()},
        clients=int(said["clients"]),
        rate=Rate.parse(said["rate"]),
        timeout=Duration.parse(said["timeout"]),
        pinned=int(said["pinned"]),
    )
    return KINDS[spec.kind](spec)


def expect_of(said: Mapping[str, Any]) -> Expect:
    """What was asked of a run, from its run.json."""
    limit = said.get("unavailable", {}).get("at_most")
    return Expect(
        linearizable=bool(said["linearizable"]),
        may_lose=said.get("lost") == "any",
        converges=bool(said["converges"]),
        unavailable_s=None if limit is None else Duration.parse(limit).seconds,
        leader_changes=int(said.get("leader_changes", {}).get("at_least", 0)),
    )


def leader_changes(history: History) -> int:
    """How often a component had another leader than the one before."""
    changes = 0
    last: dict[Any, Any] = {}
    for op in history.facts(OBSERVER):
        if op.f != "leader" or op.value is None:
            continue
        changes += op.key in last and last[op.key] != op.value
        last[op.key] = op.value
    return changes


def _before_settling(history: History) -> History:
    """While clients were at work: that nobody calls afterwards is no outage."""
    return History(history[: _settles(history)])


def _settles(history: History) -> int:
    """The index at which the run settles, or its end."""
    settles = (op.index for op in history.facts(TRIAL) if op.f == "phase" and op.value == "settle")
    return next(settles, len(history))


def _recovery(history: History) -> Iterator[Verdict]:
    """Whether every component was healthy again after all was healed; the history says it."""
    for op in history.facts(TRIAL):
        if op.f == "recovery":
            trouble = str(op.value or "")
            text = (
                f"after all was healed: {trouble.splitlines()[0]}" if trouble else "healthy again after all was healed"
            )
            yield Verdict(
                "recovery",
                Validity.INVALID if trouble else Validity.VALID,
                text,
                tuple(trouble.splitlines()) if trouble else (),
                (op.index,) if trouble else (),
            )


def _reasons(history: History, expect: Expect) -> Iterator[str]:
    """Why a run that found nothing wrong shows nothing: what it was made for did not happen."""
    ended = _settles(history)
    oks = [call.end for call in history.calls() if call.is_ok and call.f != PEEK and call.end < ended]
    if not oks:
        yield "no call was ok"
    for op in history.facts(NEMESIS):
        if op.f == "inject" and oks and max(oks) < op.index:
            yield f"no call was ok during or after {op.key}"
        if op.f in ("declined", "trouble"):
            yield str(op.value)
        if op.f == "measure" and isinstance(op.value, Mapping):
            yield from _unfelt(str(op.key), op.value)
    changes = leader_changes(history)
    if changes < expect.leader_changes:
        yield f"the leader changed {changes} times, and the scenario is about {expect.leader_changes}"
    for op in history.facts(TRIAL):
        if op.f in ("interrupted", "bug"):
            yield str(op.value)
    if not any(op.f == "phase" and op.value == "check" for op in history.facts(TRIAL)):
        yield "the run did not come to its end"


def _unfelt(fault: str, effect: Mapping[str, Any]) -> Iterator[str]:
    if effect.get("healed"):
        if effect.get("bites"):
            yield f"{fault} was still felt after it was healed: {effect.get('seen')}"
        return
    if not effect.get("bites"):
        yield f"{fault} did not bite: asked {effect.get('asked')}, seen {effect.get('seen')}"
    if not effect.get("beside_is_well", True):
        yield f"{fault} affected what it must not: {effect.get('beside')}"


def _praise(history: History, expect: Expect, workload: Workload, parts: tuple[Verdict, ...]) -> str:
    calls = history.calls()
    faults = sum(op.f == "inject" for op in history.facts(NEMESIS))
    kept = "linearizable" if expect.linearizable else "losses accepted" if expect.may_lose else "nothing lost"
    said = [f"{len(calls)} calls, {faults} fault{'' if faults == 1 else 's'}: {kept}"]
    said += ["all nodes agree"] if any(part.checker == "convergence" for part in parts) else []
    said += [part.text for part in parts if part.checker == "availability"]
    return f"{workload.spec.component}: " + ", ".join(said)
