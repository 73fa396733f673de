"""L14. Judges the log lines of a run, and a whole stored run again, from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clusterkit.chaos.registry import faults
from clusterkit.checkers.base import Validity, Verdict
from clusterkit.components.base import Never
from clusterkit.errors import UsageError
from clusterkit.history.codec import Stored, read_history
from clusterkit.history.history import History
from clusterkit.history.op import NEMESIS, PEEK
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.kept import read_kept
from clusterkit.logs.never import find
from clusterkit.workloads.judge import Judged, expect_of, judge_run, workload_of

_MOST_SHOWN = 10
_LONGEST = 300


def judge_logs(entries: Iterable[LogEntry], never: Mapping[str, tuple[Never, ...]], history: History) -> Verdict:
    """Whether a line is there that must never be. `never`: component -> patterns. The history says who met what."""
    found = list(find(entries, never, _families(history)))
    if not found:
        return Verdict("logs", Validity.VALID, "no log line that must never be there")
    shown = tuple(
        f"{one.entry.node}: {one.entry.text.splitlines()[0][:_LONGEST]}  ({one.never.why})"
        for one in found[:_MOST_SHOWN]
    )
    text = f"{len(found)} log lines that must never be there, first on {found[0].entry.node}: {found[0].never.why}"
    return Verdict("logs", Validity.INVALID, text, shown, numbers={"found": len(found)})


def _families(history: History) -> dict[str, frozenset[str]]:
    """node -> families of the faults that it met."""
    met: dict[str, set[str]] = {}
    for op in history.facts(NEMESIS):
        if op.f == "inject" and isinstance(op.value, Mapping) and op.value.get("fault") in faults():
            for node in op.value.get("nodes", ()):
                met.setdefault(node, set()).add(faults()[op.value["fault"]].family)
    return {node: frozenset(families) for node, families in met.items()}


def judge_again(folder: Path) -> tuple[Stored, Judged]:
    """The verdict on a stored run, by the checkers of today. Raises: UsageError where it is no run."""
    try:
        said: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        workload, expect = workload_of(said["workloads"][0]), expect_of(said["expect"])
        never = {
            name: tuple(
                Never(one["pattern"], one["why"], frozenset(one["unless"])) for one in component.get("never", ())
            )
            for name, component in said["components"].items()
        }
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(
            f"{folder} does not say what was tested: {error}",
            mend="name its history and a model: clusterkit check PATH/history.jsonl --model set",
        ) from error
    stored = read_history(folder, frozenset({*workload.mix, *workload.calls, *workload.needed, PEEK}))
    return stored, judge_run(stored.history, workload, expect, (judge_logs(read_kept(folder), never, stored.history),))
