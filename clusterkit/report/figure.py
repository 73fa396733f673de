"""L13, pure. The pictures of a run as plain data, in the form that plotly.js draws: colours are named, not given.

Three pictures over one axis of time: what happened (phases, faults, who led, when nothing was ok), the latency of every
call, and how many calls ended each second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from clusterkit.history.history import Call
from clusterkit.history.op import OpType
from clusterkit.report.run import Run

OUTCOMES = {OpType.OK: "ok", OpType.FAIL: "failed", OpType.INFO: "unknown"}
SYMBOLS = {OpType.OK: "circle", OpType.FAIL: "x", OpType.INFO: "triangle-up"}
_ORDER = list(OUTCOMES)
_LEAST_MS = 0.01
_MOST_MARKED = 200


def figure(run: Run) -> dict[str, Any]:
    """Names of roles stand in place of colours; times are in s, latencies in ms.

    `latency`, `rate`: lines of points. `marked`: the calls of the evidence. `strips`: bars, each in a row of `rows`.
    `bands`: the faults, `gone`: the times without an ok, both as from and to. `end`: of the history.
    """
    strips = list(_strips(run))
    return {
        "latency": list(_latency(run)),
        "marked": _marked(run),
        "rate": list(_rate(run)),
        "strips": strips,
        "rows": list(dict.fromkeys(strip["row"] for strip in strips)),
        "bands": [
            {"from": round(fault.from_s, 3), "to": round(run.end_s if fault.to_s is None else fault.to_s, 3)}
            for fault in run.faults()
        ],
        "gone": [{"from": round(gap.begin_s, 3), "to": round(gap.end_s, 3)} for gap in run.gone()],
        "end": round(run.end_s, 3),
    }


def _latency(run: Run) -> Iterator[dict[str, Any]]:
    """For each outcome and call. `shade` counts the calls of one outcome: reads and writes look a little different."""
    found: dict[tuple[OpType, str], list[Call]] = {}
    for call in run.calls():
        found.setdefault((call.outcome, call.f), []).append(call)
    shades: Counter[OpType] = Counter()
    for (outcome, f), calls in sorted(found.items(), key=lambda one: (_ORDER.index(one[0][0]), one[0][1])):
        yield {"outcome": OUTCOMES[outcome], "name": f"{f} {OUTCOMES[outcome]}", "symbol": SYMBOLS[outcome],
               "shade": shades[outcome], **_points(calls)}  # fmt: skip
        shades[outcome] += 1


def _marked(run: Run) -> dict[str, Any]:
    """The calls of the evidence; where there are very many, some of them from all over the run."""
    wanted = run.evidence_indices()
    calls = [call for call in run.calls() if wanted.intersection(call.indices)]
    return _points(calls[:: len(calls) // _MOST_MARKED + 1])


def _points(calls: Sequence[Call]) -> dict[str, Any]:
    """When each began, and how long it took. What never came back is left out."""
    done = [(call, call.completion) for call in calls if call.completion is not None]
    return {
        "x": [round(call.invoke.time_ns / 1e9, 3) for call, _ in done],
        "y": [max(_LEAST_MS, round((end.time_ns - call.invoke.time_ns) / 1e6, 3)) for call, end in done],
        "text": [f"[{call.start}] {call.node} {end.error}".strip()[:120] for call, end in done],
    }


def _rate(run: Run) -> Iterator[dict[str, Any]]:
    """For each outcome: how many calls ended in each second."""
    counts: dict[OpType, Counter[int]] = {outcome: Counter() for outcome in OUTCOMES}
    for call in run.calls():
        if call.completion is not None:
            counts[call.outcome][int(call.completion.time_ns / 1e9)] += 1
    seconds = range(int(run.end_s) + 1)
    for outcome, counted in counts.items():
        if counted:
            yield {"outcome": OUTCOMES[outcome], "x": list(seconds), "y": [counted[second] for second in seconds]}


def _strips(run: Run) -> Iterator[dict[str, Any]]:
    """Bars: each phase, each fault while it was in force, each leader while it led, each time without an ok."""
    for begin, end, phase in run.phases():
        yield _bar("phase", "phase", begin, end, phase, phase)
    for fault in run.faults():
        end = run.end_s if fault.to_s is None else fault.to_s
        yield _bar("fault", fault.words, fault.from_s, end, f"{fault.id}: {fault.words}", fault.id)
    for component, spans in run.leaders().items():
        for begin, end, node in spans:
            yield _bar("leader", f"{component} led by", begin, end, node, node)
    for gap in run.gone():
        yield _bar("gone", "no call was ok", gap.begin_s, gap.end_s, f"no call was ok for {gap.seconds:.2f} s")


def _bar(role: str, row: str, begin: float, end: float, text: str, inside: str = "") -> dict[str, Any]:
    return {"role": role, "row": row, "from": round(begin, 3), "length": round(end - begin, 3), "text": text,
            "inside": inside}  # fmt: skip
