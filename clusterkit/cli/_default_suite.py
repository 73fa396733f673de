"""L15. The suite of a topology that has no scenarios, from what is up and what this machine can do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clusterkit.errors import UsageError
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.chaos.scenario import Scenario
    from clusterkit.chaos.suite import Facts
    from clusterkit.cli.context import Cluster
    from clusterkit.trial.run import Ground


def default_suite(
    opened: Cluster, ground: Ground, time: Duration | None, say: Callable[[str], object]
) -> list[Scenario]:
    """Says what is in no scenario of it, and why. Raises: UsageError where nothing can be judged."""
    from clusterkit.chaos.suite import SLOT_S, suite
    from clusterkit.check_topology import read_scenarios

    components = list(_facts(opened, ground))
    if not components:
        raise UsageError(
            "the topology has no scenarios, and no component that clusterkit can talk to by itself",
            mend="say how clients talk to yours: chaos: {scenarios: {NAME: {workload: ..., faults: [...]}}}; "
            "see docs/your-own-service.md",
        )
    if time is not None and time.seconds < SLOT_S * len(components):
        raise UsageError(
            f"{time} is too short for {len(components)} components: nothing would be proved",
            mend=f"give {SLOT_S} s for each at least, {SLOT_S * 12} s for all kinds of faults",
        )
    made = suite(components, ground.scene.agent.trials(), None if time is None else time.seconds)
    for text in made.left_out:
        say(f"left out: {text}")
    return read_scenarios(made.scenarios, opened.topology, opened.registry)


def _facts(opened: Cluster, ground: Ground) -> Iterator[Facts]:
    from clusterkit.chaos.suite import Facts
    from clusterkit.health import roles, view
    from clusterkit.trial.observe import LEADS

    plan, record = ground.plan, opened.found
    speaks_for = {
        name: need
        for name, component in plan.components.items()
        for need in plan.groups[name].needs
        if component.drivers and plan.components[need].drivers == component.drivers
    }
    for name, component in plan.components.items():
        if not component.drivers or component.kind == "service" or name in speaks_for.values():
            continue
        struck = speaks_for.get(name, name)
        held = roles.read(view.running(plan, ground.site.provider, record, struck))
        leads = {role.name for its in held.values() for role in its} & LEADS
        nodes = [node for node in record.nodes if node.component == struck]
        yield Facts(
            name=name,
            kinds=tuple(component.drivers),
            linearizable=component.claims.linearizable,
            leader=min(leads, default=""),
            struck=struck,
            nodes=len(nodes),
            is_stateful=all(record.devices.get(node.name) for node in nodes),
        )
