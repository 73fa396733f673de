"""L13, pure. The pictures of a run as plain data, in the form that plotly.js draws: colours are named, not given.

Three pictures over one axis of time: what happened (faults, who led, when nothing was ok), the latency of every call,
and how many calls ended each second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from clusterkit.history.op import OpType
from clusterkit.report.run import Run

OUTCOMES = {OpType.OK: "ok", OpType.FAIL: "failed", OpType.INFO: "unknown"}
SYMBOLS = {OpType.OK: "circle", OpType.FAIL: "x", OpType.INFO: "triangle-up"}
_ORDER = list(OUTCOMES)
_LEAST_MS = 0.01
_LONGEST_LABEL = 26


def figure(run: Run) -> dict[str, Any]:
    """`traces` with `role` in place of colours; `bands`: the faults; `strips`: how many rows of bars there are."""
    strips = list(_strips(run))
    return {
        "latency": list(_latency(run)),
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
    """For each outcome and call: when it began, how long it took in ms. What never came back is left out."""
    points: dict[tuple[OpType, str], tuple[list[float], list[float], list[str]]] = {}
    for call in run.calls():
        if call.completion is None:
            continue
        xs, ys, texts = points.setdefault((call.outcome, call.f), ([], [], []))
        xs.append(round(call.invoke.time_ns / 1e9, 3))
        ys.append(max(_LEAST_MS, round((call.completion.time_ns - call.invoke.time_ns) / 1e6, 3)))
        texts.append(f"[{call.start}] {call.node} {call.completion.error}".strip()[:120])
    for (outcome, f), (xs, ys, texts) in sorted(points.items(), key=lambda one: (_ORDER.index(one[0][0]), one[0][1])):
        yield {"outcome": OUTCOMES[outcome], "name": f"{f} {OUTCOMES[outcome]}", "symbol": SYMBOLS[outcome], "x": xs,
               "y": ys, "text": texts}  # fmt: skip


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
    """Bars: each fault while it was in force, each leader while it led, each time without an ok."""
    for fault in run.faults():
        end = run.end_s if fault.to_s is None else fault.to_s
        yield _bar("fault", _label(fault.words), fault.from_s, end, f"{fault.id}: {fault.words}")
    for component, spans in run.leaders().items():
        for begin, end, node in spans:
            yield _bar("leader", f"{component} led by", begin, end, node, node)
    for gap in run.gone():
        yield _bar("gone", "nothing ok", gap.begin_s, gap.end_s, f"no call was ok for {gap.seconds:.2f} s")


def _bar(role: str, row: str, begin: float, end: float, text: str, inside: str = "") -> dict[str, Any]:
    return {"role": role, "row": row, "from": round(begin, 3), "length": round(end - begin, 3), "text": text,
            "inside": inside}  # fmt: skip


def _label(words: str) -> str:
    return words if len(words) <= _LONGEST_LABEL else f"{words[: _LONGEST_LABEL - 2]} .."
