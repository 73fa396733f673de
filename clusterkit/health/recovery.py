"""L8. Back from an outage after which a system's members do not find each other again by themselves."""

from __future__ import annotations

from clusterkit.components.base import Choice, Fallen
from clusterkit.components.conditions import UNREACHABLE, words
from clusterkit.errors import NotReady, UsageError
from clusterkit.health import view
from clusterkit.journal import Journal
from clusterkit.node import State
from clusterkit.plan import Plan
from clusterkit.providers.base import Provider


def choose(provider: Provider, plan: Plan, component: str, wish: str = "") -> Choice | None:
    """Whom the component is to begin from; None where it needs no help. `wish`: a node that a person has named.

    Raises: UsageError where its kind has no such procedure, NotReady where the system cannot say.
    """
    described = plan.components[component]
    if described.recovery is None:
        raise UsageError(
            f'"{component}" is of kind {described.kind}, which needs no other way back than a start',
            mend="clusterkit up",
        )
    try:
        return described.recovery.choose(_fallen(provider, plan, component), wish)
    except UNREACHABLE as error:
        raise NotReady(f"{component} cannot say whom it should begin from: {words(error)}", unready={}) from error


def begin(provider: Provider, journal: Journal, plan: Plan, component: str, choice: Choice) -> None:
    """The chosen one begins alone: now, or when it is started. Raises: NotReady."""
    recovery = plan.components[component].recovery
    assert recovery is not None, f"nobody of {component} can have been chosen"
    with journal.step(f"{component} begins from {choice.node}: {choice.why}", component=component):
        try:
            recovery.begin(_fallen(provider, plan, component), choice.node)
        except UNREACHABLE as error:
            raise NotReady(f"{component} could not begin from {choice.node}: {words(error)}", unready={}) from error


def revive(provider: Provider, journal: Journal, plan: Plan, component: str) -> None:
    """Before members are started: where none runs, and they would not find each other, one of them is to begin.

    Only what loses nothing is done without a word from a person. Raises: NotReady.
    """
    if plan.components[component].recovery is None:
        return
    nodes = _fallen(provider, plan, component).nodes
    if not nodes or any(node.state() in (State.RUNNING, State.PAUSED) for node in nodes.values()):
        return
    choice = choose(provider, plan, component)
    if choice is None:
        return
    if choice.loses:
        raise NotReady(
            f"{component} does not come back by itself; to begin from {choice.node} may lose {choice.loses}",
            mend=f"clusterkit recover {component}",
            unready={},
        )
    begin(provider, journal, plan, component, choice)


def _fallen(provider: Provider, plan: Plan, component: str) -> Fallen:
    record = provider.find(plan.name)
    running = view.running(plan, provider, record, component)
    there = {node.name: node for node in record.nodes} if record else {}
    names = [member.name for member in running.members if member.name in there]
    return Fallen(running, {name: provider.node(there[name]) for name in names})
