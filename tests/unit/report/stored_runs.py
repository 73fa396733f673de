"""Makes folders of runs as chaos-test leaves them: one that is invalid, one that is valid, one that was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from clusterkit.checkers.availability import Availability
from clusterkit.checkers.base import Verdict
from clusterkit.checkers.lost_writes import SetElements
from clusterkit.history.codec import FILE_NAME, read_history, to_line
from clusterkit.history.op import NEMESIS, OBSERVER, Op, OpType

STARTED_NS = 1_790_000_000_000_000_000
NASTY = (
    "</script><script>document.title='broken'</script>",
    "<img src=x onerror=\"document.title='broken'\">",
    "\x1b[31mred\x1b[0m, a NUL \x00, a line \u2028 and a paragraph \u2029",
    "half a pair \ud83d and not a character \uffff",
    "{{ braces }} {% raw %} & entities &lt;",
    "]]> ends what XML keeps as it is",
    "word" * 200,
)
"""What log lines hold that a page, a script or an XML document may trip over."""

_FAULTS = (
    ("kill-1", 'kill "leader of cache"', ["cache-1"], 10, 16, "1 down", "1 of 1 down", True),
    ("partition-2", "partition majority, minority of cache and sentinel", ["cache-2", "cache-3", "sentinel-1"], 24, 32,
     "6 pairs cut", "6 of 6 cut", True),
    ("clock-3", "clock +30s on sentinel-3", ["sentinel-3"], 40, 46, "+30 s", "0 s", False),
)  # fmt: skip
_LEADERS = (
    (0.1, "cache", "cache-1"), (0.2, "sentinel", "sentinel-2"), (10.4, "cache", None), (12.9, "cache", "cache-2"),
    (25.0, "cache", None), (29.5, "cache", "cache-3"),
)  # fmt: skip
_GONE = ((10.0, 12.9), (24.2, 29.6))
_END_S = 60.0


def invalid_run(folder: Path, calls: int = 10_000) -> Path:
    """A set on Redis that lost three elements: five clients, three faults, one of which did not bite."""
    _write_said(folder)
    lines = list(_events(calls))
    lost = [op.value for op in lines if op.type is OpType.OK and op.f == "add" and 24.0 < op.time_ns / 1e9 < 24.2][:3]
    ops = [*lines, *_last_read(lines, set(lost))]
    (folder / FILE_NAME).write_text("".join(to_line(op) + "\n" for op in ops), encoding="utf-8")
    _write_result(folder)
    _write_logs(folder)
    return folder


def valid_run(folder: Path) -> Path:
    """A thousand calls and nothing lost."""
    _write_said(folder)
    lines = list(_events(1000))
    ops = [*lines, *_last_read(lines, set())]
    (folder / FILE_NAME).write_text("".join(to_line(op) + "\n" for op in ops), encoding="utf-8")
    _write_result(folder)
    _write_logs(folder)
    return folder


def cut_run(folder: Path) -> Path:
    """What a SIGKILL leaves: no result, and every file ends in the middle of a line."""
    valid_run(folder)
    (folder / "result.json").unlink()
    for name in (FILE_NAME, "logs.jsonl"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) * 2 // 5 // 2 * 2 - 7])
    return folder


def _write_said(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weakness = "writes that were acknowledged, but not yet replicated, are lost when the primary changes"
    said = {
        "format": 1,
        "clusterkit": "0.1.0",
        "cluster": "shop",
        "scenario": "primary-loss",
        "seed": 7,
        "started": "2026-09-21T13:33:20+00:00",
        "started_ns": STARTED_NS,
        "time_s": _END_S,
        "source": "clusterkit.yml",
        "workloads": [{"kind": "set", "component": "cache", "clients": 5, "rate": "166/s", "mix": {"add": 9}}],
        "expect": {"lost": 0, "unavailable": {"at_most": "10s"}},
        "components": {
            "cache": {
                "kind": "redis",
                "version": "7.0",
                "image": "clusterkit/redis:0123456789ab",
                "digest": f"sha256:{'5' * 64}",
                "claims": {"linearizable": False, "durable": False, "converges": True},
                "weaknesses": [weakness],
            }
        },
        "nodes": [{"name": f"cache-{n}", "component": "cache", "zone": "abc"[n - 1], "address": ""} for n in (1, 2, 3)],
        "schedule": [{"start_s": one[3], "end_s": one[4], "fault": one[1]} for one in _FAULTS],
        "command": "clusterkit chaos-test primary-loss --seed 7 --time 60s",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(said), encoding="utf-8")


def _events(calls: int) -> Iterator[Op]:
    """Calls of five clients, faults, leaders and phases, by time."""
    chance = Random(7)
    found: list[tuple[float, Any, OpType, str, Any, Any, str, str]] = []
    found += [(t, "trial", OpType.INFO, "phase", None, name, "", "") for t, name in ((0.0, "faults"), (50.0, "heal"))]
    found += [(t, OBSERVER, OpType.INFO, "leader", component, node, "", "") for t, component, node in _LEADERS]
    for name, words, nodes, begin, end, asked, seen, bites in _FAULTS:
        effect = {"asked": asked, "seen": seen, "bites": bites, "beside": "well", "beside_is_well": True, "numbers": {}}
        told = {"fault": name.partition("-")[0], "words": words, "nodes": nodes}
        found.append((begin, NEMESIS, OpType.INFO, "inject", name, told, "", ""))
        found.append((begin + 1, NEMESIS, OpType.INFO, "measure", name, {**effect, "healed": False}, "", ""))
        found.append((end, NEMESIS, OpType.INFO, "heal", name, told, "", ""))
        found.append(
            (end + 0.5, NEMESIS, OpType.INFO, "measure", name, {**effect, "seen": "as before", "healed": True}, "", "")
        )
    every = 5 * (_END_S - 5) / calls
    process = 5
    for client in range(5):
        now, value, number = every * client / 5, client, client
        while now < _END_S - 5:
            is_add = chance.random() < 0.9
            f, argument = ("add", value) if is_add else ("read", None)
            node = f"cache-{chance.randint(1, 3)}"
            took = min(0.9 * every, chance.lognormvariate(-6, 0.7))
            outcome, error = OpType.OK, ""
            if any(begin < now < end for begin, end in _GONE):
                outcome = OpType.FAIL if not is_add or chance.random() < 0.6 else OpType.INFO
                took, error = (0.0004, "Connection refused") if outcome is OpType.FAIL else (1.0, NASTY[value % 3])
            found.append((now, number, OpType.INVOKE, f, None, argument, node, ""))
            done: Any = argument if is_add else []
            found.append(
                (now + took, number, outcome, f, None, done if outcome is OpType.OK else argument, node, error)
            )
            if outcome is OpType.INFO:
                number, process = process, process + 1
            value, now = value + 5, max(now + every, now + took + 0.001)
    found.sort(key=lambda one: one[0])
    for index, (time_s, by, kind, f, key, value, node, error) in enumerate(found):
        yield Op(index, by, kind, f, key, value, round(time_s * 1e9), node, error)


def _last_read(ops: list[Op], lost: set[int]) -> Iterator[Op]:
    """One read of all that was added, but for what was lost."""
    kept = sorted(op.value for op in ops if op.f == "add" and op.type is OpType.OK and op.value not in lost)
    at = round(_END_S * 1e9)
    yield Op(len(ops), "trial", OpType.INFO, "phase", None, "final reads", at)
    yield Op(len(ops) + 1, 99_999, OpType.INVOKE, "read", None, None, at + 1_000_000, "cache-3")
    yield Op(len(ops) + 2, 99_999, OpType.OK, "read", None, kept, at + 9_000_000, "cache-3")


def _write_result(folder: Path) -> None:
    """As the checkers judge what was written."""
    history = read_history(folder).history
    calls = history.calls()
    verdicts = [SetElements().check(history), Availability().check(history)]
    worst = "invalid" if any(one.validity == "invalid" for one in verdicts) else "valid"
    counts = {"calls": len(calls)}
    counts |= {kind: sum(call.outcome == kind for call in calls) for kind in ("ok", "fail", "info")}
    result = {
        "format": 1,
        "verdict": worst,
        "text": verdicts[0].text,
        "cluster": "shop",
        "scenario": "primary-loss",
        "seed": 7,
        "seconds": {"steady": 0.2, "faults": _END_S, "heal": 1.5, "settle": 2.0, "final reads": 0.1, "check": 0.4},
        "counts": counts,
        "verdicts": [_told(one) for one in verdicts],
        "weaknesses": [{"component": "cache", "text": "acknowledged before it is replicated"}],
        "reasons": [],
        "memory_mb": 91.5,
    }
    (folder / "result.json").write_text(json.dumps(result, default=str), encoding="utf-8")


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "checker": verdict.checker,
        "component": "cache",
        "workload": "set",
        "verdict": verdict.validity.value,
        "text": verdict.text,
        "evidence": list(verdict.evidence),
        "indices": list(verdict.indices),
        "numbers": dict(verdict.numbers),
    }


def _write_logs(folder: Path) -> None:
    """Ten lines a second of three nodes, every fifth of them nasty."""
    with (folder / "logs.jsonl").open("w", encoding="utf-8") as file:
        for tenth in range(int(_END_S * 10)):
            text = NASTY[tenth // 5 % len(NASTY)] if tenth % 5 == 3 else f"served {tenth} requests"
            level = ("info", "warning", "error")[tenth % 10 // 3 % 3]
            entry = {
                "time": "2026-09-21T13:33:20+00:00",
                "time_ns": STARTED_NS + tenth * 100_000_000,
                "node": f"cache-{tenth % 3 + 1}",
                "component": "cache",
                "level": level,
                "text": text,
            }
            file.write(json.dumps(entry) + "\n")
