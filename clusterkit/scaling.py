"""L14. A running cluster gets more nodes, or fewer, than its file says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clusterkit.check_topology import read_topology
from clusterkit.cluster import Outcome, Site, Wish, up
from clusterkit.errors import UsageError
from clusterkit.model.topology import Topology
from clusterkit.model.words import did_you_mean

LOCK_SECONDS = 60.0
"""Of two that scale at once, as faults of a test do, one waits."""


@dataclass(frozen=True)
class Scaled:
    """What was done; `by_hand`: component -> (nodes that it has, nodes that the file gives it), where they differ."""

    outcome: Outcome
    topology: Topology
    by_hand: Mapping[str, tuple[int, int]]


def scale(
    site: Site, cluster: str, file: Path, counts: Mapping[str, int], *, wait_timeout: float | None = None
) -> Scaled:
    """Makes the counts those of the components, by the system's own procedure; other components keep theirs.

    Raises: UsageError for an unknown component, TopologyError for a count that cannot be, and what `up` raises.
    """
    plain, _ = read_topology(file, folder=Path.cwd(), environ=os.environ)
    for name in counts:
        if name not in plain.components:
            raise UsageError(
                f'no component is called "{name}"', mend=did_you_mean(name, plain.components, "components")
            )
    record = site.provider.find(cluster)
    if record is None or not record.nodes:
        raise UsageError(f'no cluster "{cluster}" is up', mend="bring it up: clusterkit up")
    wanted = {name: count for name, count in {**record.scale, **counts}.items() if name in plain.components}
    overrides = {name: {"replicas": count} for name, count in wanted.items()}
    topology, registry = read_topology(file, folder=Path.cwd(), environ=os.environ, overrides=overrides)
    of_file = {name: plain.components[name].replicas for name in wanted}
    by_hand = {name: (count, of_file[name]) for name, count in wanted.items() if count != of_file[name]}
    wish = Wish(scale={name: count for name, (count, _) in by_hand.items()})
    outcome = up(site, topology, registry, wish, wait_timeout=wait_timeout, lock_timeout=LOCK_SECONDS)
    return Scaled(outcome, topology, by_hand)
