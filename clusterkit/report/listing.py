"""L13. All runs of a cluster, as a list. It reads run.json and result.json alone: a thousand are quick."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Listed:
    """One run. `longest_gap_s`: the longest time without an ok; None where it is not known, as `seed` and `calls`."""

    folder: Path
    started_ns: int
    scenario: str
    seed: int | None
    verdict: str
    calls: int | None
    longest_gap_s: float | None

    @property
    def when(self) -> str:
        """In UTC, as the folder's name is."""
        if not self.started_ns:
            return "?"
        return datetime.fromtimestamp(self.started_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def runs(folder: Path) -> list[Listed]:
    """The runs below `folder`, oldest first; none where there is no such folder. A killed run is `unknown`."""
    if not folder.is_dir():
        return []
    found = [_listed(one) for one in folder.iterdir() if one.is_dir() and not one.is_symlink()]
    return sorted(found, key=lambda one: one.folder.name)  # a name begins with its time


def _listed(folder: Path) -> Listed:
    said, result = _json(folder / "run.json"), _json(folder / "result.json")
    gaps = [
        gap
        for one in result.get("verdicts", ())
        if (gap := one.get("numbers", {}).get("longest time without an ok, s")) is not None
    ]
    return Listed(
        folder,
        int(said.get("started_ns", 0)),
        str(said.get("scenario", "?")),
        said.get("seed"),
        str(result.get("verdict", "unknown")),
        result.get("counts", {}).get("calls"),
        max(gaps, default=None),
    )


def _json(path: Path) -> Mapping[str, Any]:
    """Empty where the run was killed before it was written, or while it was."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
