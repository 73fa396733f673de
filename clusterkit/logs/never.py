"""L8, pure. Log lines that no sound system prints: what a component's author says must never be there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clusterkit.components.base import Never
from clusterkit.logs.entry import LogEntry


@dataclass(frozen=True)
class Found:
    """An entry that must not be there, and why not."""

    entry: LogEntry
    never: Never


def find(
    entries: Iterable[LogEntry], never: Mapping[str, tuple[Never, ...]], hit: Mapping[str, frozenset[str]]
) -> Iterator[Found]:
    """`never`: component -> patterns; `hit`: node -> families of the faults that it met. Reads `entries` to the end.

    A node that met a fault which excuses a pattern is not blamed for it.
    """
    compiled = {name: [(re.compile(one.pattern), one) for one in patterns] for name, patterns in never.items()}
    for entry in entries:
        families = hit.get(entry.node, frozenset())
        for pattern, one in compiled.get(entry.component, ()):
            if not one.unless & families and pattern.search(entry.text):
                yield Found(entry, one)
                break
