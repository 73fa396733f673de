"""L9. From a running cluster to the scene of its faults: the agent, the nodes as they are, the means to act on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clusterkit.agent.client import Agent
from clusterkit.chaos.base import Scene
from clusterkit.clock import Deadline
from clusterkit.journal import Journal
from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord
from clusterkit.providers.docker_agent import DockerAgent

if TYPE_CHECKING:
    from clusterkit.components.base import Running
    from clusterkit.plan import Plan
    from clusterkit.providers.docker import DockerProvider


@contextmanager
def open_agent(provider: DockerProvider, journal: Journal) -> Iterator[Agent]:
    """A conversation with the engine's agent, which is made and started where it does not run."""
    from clusterkit.model.image import Install
    from clusterkit.provision.recipe import image_tag

    container = DockerAgent(provider.client)
    image = Install("agent")
    tag = image_tag(image)
    if not container.is_running(tag):
        from clusterkit.provision.images import Images

        Images(provider.client, journal).ensure({image})
        with journal.step("start the agent"):
            container.start(tag)
    agent = container.connect()
    try:
        yield agent
    finally:
        agent.close()


@contextmanager
def open_scene(
    provider: DockerProvider,
    journal: Journal,
    record: ClusterRecord,
    plan: Callable[[], Plan],
    scale: Callable[[Mapping[str, int]], object],
) -> Iterator[Scene]:
    """`plan` is asked only when a fault needs to know roles or readiness, which the labels do not say.

    `scale`: component -> count; it ends when they are that many, and healthy.
    """
    with open_agent(provider, journal) as agent:
        yield Scene(
            cluster=record.name,
            agent=agent,
            nodes={node.name: node for node in record.nodes},
            service=provider.node,
            wait_ready=lambda nodes, seconds: _wait_ready(provider, record.name, plan(), nodes, seconds),
            roles=lambda: _roles(provider, record.name, plan()),
            find=lambda: provider.find(record.name),
            say=journal.say,
            scale=scale,
            revive=lambda names: _revive(provider, journal, record.name, plan, names),
        )


def _revive(
    provider: DockerProvider, journal: Journal, cluster: str, plan: Callable[[], Plan], names: Collection[str]
) -> None:
    """Nodes are started in any case; where the system cannot be helped, it is said why."""
    from clusterkit.errors import NotReady, UsageError
    from clusterkit.health import recovery

    record = provider.find(cluster)
    nodes = record.nodes if record else ()
    for component in dict.fromkeys(node.component for node in nodes if node.name in names):
        if any(node.state in (State.RUNNING, State.PAUSED) for node in nodes if node.component == component):
            continue
        try:
            recovery.revive(provider, journal, plan(), component)
        except (NotReady, UsageError) as error:  # the topology is gone, or data would be lost
            journal.say(f"{component} is started as it is: {error.what}", level="warning")


def _roles(provider: DockerProvider, cluster: str, plan: Plan) -> Mapping[str, tuple[str, ...]]:
    from clusterkit.health.roles import roles

    found = roles(plan, provider, provider.find(cluster))
    return {node: tuple(role.name for role in held) for node, held in found.items()}


def _wait_ready(provider: DockerProvider, cluster: str, plan: Plan, nodes: Sequence[str], seconds: float) -> None:
    from clusterkit.health import ready, view

    deadline = Deadline(seconds)
    for component in dict.fromkeys(plan.node(name).component for name in nodes):
        only = [name for name in nodes if plan.node(name).component == component]

        def look(component: str = component) -> Running:
            return view.running(plan, provider, provider.find(cluster), component)

        ready.wait_ready(look, deadline, only=only)
