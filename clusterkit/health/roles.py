"""L8. The roles of all nodes, as the systems say them at this moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from clusterkit.components.base import Role, Running
from clusterkit.components.conditions import UNREACHABLE
from clusterkit.health import view
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, Provider

T = TypeVar("T")

_WORKERS = 16


def roles(plan: Plan, provider: Provider, record: ClusterRecord | None) -> dict[str, tuple[Role, ...]]:
    """node name -> its roles, the main one first. Nodes that do not run or do not answer are absent.

    All components are asked side by side, and each call to a node is bounded by `view.TIMEOUT`.
    """
    found = for_each(plan.groups, lambda name: read(view.running(plan, provider, record, name)))
    return {node: held for of_component in found.values() for node, held in of_component.items()}


def read(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """The roles of one component; empty where it cannot be asked."""
    if not running.nodes:
        return {}
    try:
        return running.component.roles(running)
    except UNREACHABLE:
        return {}


def for_each(names: Iterable[str], do: Callable[[str], T]) -> dict[str, T]:
    """Does something for every component side by side: name -> what it gave, in the order of the names."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        asked = {name: pool.submit(do, name) for name in names}
    return {name: future.result() for name, future in asked.items()}
