"""L15. `clusterkit logs --run`: the lines that a chaos test kept, its faults among them. No engine is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterkit.components.base import LogFormat
from clusterkit.errors import UsageError
from clusterkit.logs.entry import OWN, LogEntry
from clusterkit.logs.kept import NAME, read_kept
from clusterkit.logs.own import OwnStep
from clusterkit.logs.query import Entries, Filter, Levels
from clusterkit.model.select import Candidate, select


@dataclass(frozen=True)
class LogsOfRun:
    """The nodes that wrote anything, what clusterkit did meanwhile, and where it is kept."""

    folder: Path
    candidates: tuple[Candidate, ...]
    steps: tuple[OwnStep, ...]

    def entries(self, words: Sequence[str], zones: Sequence[str], wanted: Filter, *, own: bool) -> Entries:
        """As `clusterkit logs` shows them. Raises: UsageError where a word names no node that wrote anything."""
        named = [word for word in words if word != OWN]
        names = set(select(named, self.candidates)) if named or not words else set()
        if zones:
            select([f"zone:{zone}" for zone in zones], self.candidates)
            names &= {candidate.name for candidate in self.candidates if candidate.zone in zones}
        is_whole = OWN in words or not (words or zones)
        about = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names)))})(?![\w-])")

        def is_shown(entry: LogEntry) -> bool:
            if entry.node != OWN:
                return entry.node in names
            return own and (is_whole or (bool(names) and about.search(entry.text) is not None))

        yield from wanted.apply(filter(is_shown, read_kept(self.folder)), Levels(lambda _kind: LogFormat()))


def read_logs_of_run(folder: Path) -> LogsOfRun:
    """Raises: UsageError where the folder is none of a run, or its lines were not kept."""
    found: dict[str, Candidate] = {}
    steps = []
    for entry in read_kept(folder):
        if entry.node == OWN:
            steps.append(OwnStep("", (), "", entry))
        elif entry.node not in found:
            found[entry.node] = Candidate(entry.node, entry.component, entry.zone)
    if not found:
        what = f"{folder} kept no lines: it has no {NAME}" if folder.is_dir() else f"there is no run {folder}"
        raise UsageError(what, mend="`clusterkit runs` lists them")
    return LogsOfRun(folder, tuple(found[name] for name in sorted(found)), tuple(steps))
