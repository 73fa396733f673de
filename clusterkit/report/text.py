"""L13. A run in a few lines: verdict, the smallest evidence, what the faults did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clusterkit.report.run import FaultTold, Run

_MOST_EVIDENCE = 14
_LEAST_EVIDENCE = 4
_LONGEST = 150
_LONGEST_HEADLINE = 400


def lines(run: Run) -> Iterator[str]:
    """For a terminal, at most some forty lines."""
    yield f"{run.verdict.upper()}: {_short(run.headline, _LONGEST_HEADLINE)}"
    yield from _evidence(run)
    for one in run.result.get("weaknesses", ()) if run.verdict == "invalid" else ():
        yield f"  known weakness of {one['component']}: {one['text']}"
    for one in run.missing:
        yield f"  {one}"
    yield ""
    yield _counts(run)
    yield from _faults(run)
    for one in run.verdicts:
        yield f"  {one['verdict']:<8} {one['checker']}: {_short(one['text'].partition(chr(10))[0])}"
    yield ""
    yield f"  report: {run.folder / 'report.html'}"
    if run.said.get("command"):
        yield f"  again:  {run.said['command']}"
        yield f"          (the very same faults: clusterkit chaos-test --replay {run.folder})"


def _evidence(run: Run) -> Iterator[str]:
    """The first checker has most of the room, the others some."""
    room = _MOST_EVIDENCE
    for one in run.verdicts:
        if one["verdict"] != "invalid" or not one["evidence"]:
            continue
        yield f"  {one['checker']}:"
        for line in one["evidence"][:room]:
            yield f"    {_short(line)}"
        more = len(one["evidence"]) - room
        room = max(_LEAST_EVIDENCE, room - len(one["evidence"]))
        if more > 0:
            yield f"    and {more} more lines in the report"


def _counts(run: Run) -> str:
    counts: Mapping[str, Any] = run.result.get("counts", {})
    seconds = run.result.get("seconds", {}).get("faults", 0) or 0
    rate = f", {counts['calls'] / seconds:.0f}/s" if seconds and counts.get("calls") else ""
    if not counts:
        return f"  {len(run.calls())} calls until the run was cut off"
    return (
        f"  {counts['calls']} calls{rate}: {counts['ok']} ok, {counts['fail']} failed, {counts['info']} unknown; "
        f"seed {run.said.get('seed')}"
    )


def _faults(run: Run) -> Iterator[str]:
    faults = run.faults()
    if not faults:
        return
    width = min(44, max(len(fault.words) for fault in faults))
    yield f"  {'at':>7}  {'fault':<{width}}  {'bit':<4} {'noticed':>8} {'new leader':>11} {'gone':>8} {'back':>8}"
    for fault in faults:
        yield (
            f"  {fault.from_s:5.1f} s  {_short(fault.words, width):<{width}}  {_bit(fault):<4} "
            f"{_seconds(fault, 'first error'):>8} {_seconds(fault, 'new leader'):>11} "
            f"{_seconds(fault, 'gone'):>8} {_seconds(fault, 'back'):>8}"
        )


def _bit(fault: FaultTold) -> str:
    if not fault.effect:
        return "?"
    return "yes" if fault.effect.get("bites") else "no"


def _seconds(fault: FaultTold, name: str) -> str:
    value = fault.times.get(name)
    return "-" if value is None else f"{value:.2f} s"


def _short(said: str, width: int = _LONGEST) -> str:
    """At most so long, on one line, and nothing in it that a terminal would obey."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in said)
    return shown if len(shown) <= width else f"{shown[: width - 4]} ..."
