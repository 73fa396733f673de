"""L13. The folder of a run, read; as much of it as there is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from clusterkit.checkers.availability import Availability, Gap, gaps
from clusterkit.errors import UsageError
from clusterkit.history.codec import FILE_NAME, read_history
from clusterkit.history.history import Call, History
from clusterkit.history.op import NEMESIS, OBSERVER, PEEK

NOT_ENDED = "the run did not come to its end"
OUTAGE_S = 0.25
"""A shorter time without an ok is told by the length of it alone: clients just do not call more often."""


@dataclass(frozen=True)
class FaultTold:
    """One fault of a run. `to_s` None: it was never healed. `times`: what Availability says of it, in seconds."""

    id: str
    words: str
    nodes: tuple[str, ...]
    from_s: float
    to_s: float | None
    effect: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """`said` is run.json, `result` result.json; both are empty where a killed run has none. `missing`: what is."""

    folder: Path
    said: Mapping[str, Any]
    result: Mapping[str, Any]
    history: History
    missing: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return str(self.result.get("verdict", "unknown"))

    @property
    def text(self) -> str:
        return str(self.result.get("text", NOT_ENDED))

    @property
    def headline(self) -> str:
        """The first line of the text: what a checker adds below it is evidence."""
        return self.text.partition("\n")[0]

    @property
    def verdicts(self) -> list[Mapping[str, Any]]:
        return list(self.result.get("verdicts", ()))

    @property
    def name(self) -> str:
        return str(self.said.get("scenario", self.folder.name))

    @property
    def end_s(self) -> float:
        return self.history[-1].time_ns / 1e9 if len(self.history) else 0.0

    def evidence_indices(self) -> set[int]:
        """Of the Ops that refute."""
        return {index for one in self.verdicts if one["verdict"] == "invalid" for index in one["indices"]}

    def numbers(self, checker: str) -> Mapping[str, Any]:
        return next((dict(one.get("numbers", {})) for one in self.verdicts if one.get("checker") == checker), {})

    def calls(self) -> list[Call]:
        """Those of clients; not what was asked of single nodes in the end."""
        return [call for call in self.history.calls() if call.f != PEEK]

    def faults(self) -> list[FaultTold]:
        """In the order in which they came."""
        measured = self.numbers("availability") or Availability().check(self.history).numbers  # of a killed run
        times = measured.get("faults", {})
        found: dict[str, dict[str, Any]] = {}
        for op in self.history.facts(NEMESIS):
            value = op.value if isinstance(op.value, Mapping) else {}
            key = str(op.key)
            if op.f == "inject":
                found[key] = {
                    "words": str(value.get("words", key)),
                    "nodes": tuple(value.get("nodes", ())),
                    "from_s": op.time_ns / 1e9,
                    "to_s": None,
                    "times": times.get(key, {}),
                }
            elif key in found and op.f == "heal":
                found[key]["to_s"] = op.time_ns / 1e9
            elif key in found and op.f == "measure":
                found[key]["after" if value.get("healed") else "effect"] = value
        told = [FaultTold(id=key, **rest) for key, rest in found.items()]
        return [replace(fault, times=_own(fault, later)) for fault, later in zip_longest(told, told[1:])]

    def phases(self) -> Iterator[tuple[float, float, str]]:
        """From, to, name; as far as they came."""
        told = [op for op in self.history.facts("trial") if op.f == "phase"]
        begins = [*(op.time_ns / 1e9 for op in told), self.end_s]
        for op, begin, end in zip(told, begins, begins[1:], strict=False):
            yield begin, end, str(op.value)

    def leaders(self) -> Mapping[str, list[tuple[float, float, str]]]:
        """component -> (from, to, node): who led when, as far as anybody said so."""
        found: dict[str, list[tuple[float, float, str]]] = {}
        last: dict[str, tuple[float, str | None]] = {}
        for op in self.history.facts(OBSERVER):
            if op.f != "leader":
                continue
            name, now = str(op.key), op.time_ns / 1e9
            since, node = last.get(name, (now, None))
            if node is not None:
                found.setdefault(name, []).append((since, now, node))
            last[name] = (now, op.value)
        for name, (since, node) in last.items():
            if node is not None:
                found.setdefault(name, []).append((since, self.end_s, node))
        return found

    def gone(self) -> list[Gap]:
        """The outages: times without an ok while calls were tried."""
        return [gap for gap in gaps(self.calls()) if gap.seconds >= OUTAGE_S]


def _own(fault: FaultTold, later: FaultTold | None) -> Mapping[str, Any]:
    """Of the times of a fault, those that are its own doing.

    Service was not `back` where it was never gone. A leader that came after a later fault is that one's, where this one
    was healed before.
    """
    times = dict(fault.times)
    if (times.get("gone") or 0) < OUTAGE_S:
        times["back"] = None
    is_past = later is not None and fault.to_s is not None and fault.to_s <= later.from_s
    if later is not None and is_past and fault.from_s + (times.get("new leader") or 0) >= later.from_s:
        times["new leader"] = None
    return times


def read_run(folder: Path) -> Run:
    """Raises: UsageError where the folder is none of a run."""
    if not folder.is_dir():
        raise UsageError(f"there is no run {folder}", mend="`clusterkit runs` lists them")
    missing: list[str] = []
    said, result = _json(folder / "run.json", missing), _json(folder / "result.json", missing)
    history = _history(folder, missing)
    if not said and not len(history):
        raise UsageError(
            f"{folder} is no run: it has neither run.json nor {FILE_NAME}", mend="`clusterkit runs` lists them"
        )
    return Run(folder, said, result, history, tuple(missing))


def _history(folder: Path, missing: list[str]) -> History:
    """Empty where it cannot be read: what else there is of the run is still told."""
    try:
        stored = read_history(folder)
    except (UsageError, OSError) as error:
        missing.append(f"{FILE_NAME} cannot be read: {getattr(error, 'what', error)}")
        return History()
    missing += [stored.cut.removeprefix(f"{folder}/")] if stored.cut else []
    return stored.history


def _json(path: Path, missing: list[str]) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append(f"{path.name} is missing: the run was killed")
        return {}
    except (OSError, ValueError) as error:
        missing.append(f"{path.name} cannot be read: {error}")
        return {}
    return found if isinstance(found, dict) else {}
