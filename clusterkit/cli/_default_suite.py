"""L15. The suite of a topology that has no scenarios, from what is up and what this machine can do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.chaos.scenario import Scenario
    from clusterkit.chaos.suite import Facts
    from clusterkit.cli.context import Cluster
    from clusterkit.components.base import Component
    from clusterkit.trial.run import Ground


def default_suite(
    opened: Cluster, ground: Ground, time: Duration | None, say: Callable[[str], object]
) -> list[Scenario]:
    """Says what is in no scenario of it, and why. Raises: UsageError where nothing can be judged."""
    from clusterkit.chaos.suite import suite
    from clusterkit.check_topology import read_scenarios

    facts = {one.name: one for one in _facts(opened, ground)}
    made = suite(facts, ground.scene.agent.trials(), None if time is None else time.seconds)
    for text in made.left_out:
        say(text)
    return read_scenarios(made.scenarios, opened.topology, opened.registry)


def _facts(opened: Cluster, ground: Ground) -> Iterator[Facts]:
    from clusterkit.chaos.suite import Facts
    from clusterkit.health.roles import roles
    from clusterkit.trial.observe import LEADS

    plan, record = ground.plan, opened.found
    held = roles(plan, ground.site.provider, record)
    for name, component in plan.components.items():
        nodes = [node for node in record.nodes if node.component == name]
        leads = {role.name for node in nodes for role in held.get(node.name, ())} & LEADS
        spec = opened.topology.components[name]
        yield Facts(
            name=name,
            claims=component.claims,
            kinds=frozenset(component.drivers) if _needs_no_words(component) else frozenset(),
            head=min(leads, default=""),
            replicas=len(nodes),
            others=len(record.nodes) - len(nodes),
            zones=tuple(dict.fromkeys(node.zone for node in nodes)),
            keeps_data=bool(component.data),
            has_disk=spec.data == "loop" and all(record.devices.get(node.name) for node in nodes),
            leads_to=_leads_to(name, ground),
        )


def _needs_no_words(component: Component) -> bool:
    """Whether a workload on it can leave out all that only its kind knows: a service has to say how it is called."""
    from pydantic import ValidationError

    try:
        component.workload()
    except ValidationError:
        return False
    return True


def _leads_to(name: str, ground: Ground) -> str:
    """What it depends on and is spoken to by the same drivers: its clients are led there. Else ""."""
    components = ground.plan.components
    drivers = components[name].drivers
    return next(
        (need for need in ground.plan.groups[name].needs if drivers and components[need].drivers == drivers), ""
    )
