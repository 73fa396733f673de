"""L15. Which scenario is meant: one of the topology's, or a file that holds one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import UsageError
from clusterkit.model.words import did_you_mean, listed

if TYPE_CHECKING:
    from clusterkit.chaos.scenario import Scenario
    from clusterkit.components.registry import Registry
    from clusterkit.model.topology import Topology


def the_only_scenario(topology: Topology) -> Scenario:
    """Raises: UsageError where there is none, or several."""
    known: Mapping[str, Scenario] = topology.scenarios
    if len(known) == 1:
        return next(iter(known.values()))
    raise UsageError(
        f"the topology has {len(known) or 'no'} scenarios" + (f": {listed(known)}" if known else ""),
        mend="name one" if known else "add one (chaos: {scenarios: ...}), or name a file that holds one",
    )


def find_scenario(topology: Topology, registry: Registry, word: str) -> Scenario:
    """Raises: UsageError, TopologyError."""
    known: Mapping[str, Scenario] = topology.scenarios
    if word in known:
        return known[word]
    if word.endswith((".yml", ".yaml")) or Path(word).is_file():
        from clusterkit.check_topology import read_scenario

        found: Scenario = read_scenario(Path(word), topology, registry, os.environ)
        return found
    raise UsageError(
        f'there is no scenario "{word}"',
        mend=did_you_mean(word, known, "scenarios") if known else "name a file that holds one: ./storm.yml",
    )
