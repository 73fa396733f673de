"""L9. Whom a fault meets: its targets' words, resolved at the moment it is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from clusterkit.chaos.base import Chosen, Fault, Scene, Target
from clusterkit.errors import UsageError
from clusterkit.model.select import Candidate, select
from clusterkit.providers.base import NodeRecord


def aim(fault: Fault, scene: Scene) -> Chosen:
    """A fault's fields of type Target -> nodes. "everyone" is all nodes that no other field names.

    Raises: UsageError for words that name nothing now, and for a side that is empty.
    """
    found: dict[str, tuple[NodeRecord, ...]] = {}
    for name, target in targets(fault):
        if not target.is_everyone:
            found[name] = choose(target, scene)
    named = {node.name for nodes in found.values() for node in nodes}
    for name, target in targets(fault):
        if target.is_everyone:
            found[name] = tuple(node for node in scene.nodes.values() if node.name not in named)
            if not found[name]:
                raise UsageError(f"{fault.name}: nobody is left on the other side", mend="name fewer nodes")
    return found


def choose(target: Target, scene: Scene) -> tuple[NodeRecord, ...]:
    """The nodes that the words name now."""
    candidates = [Candidate(node.name, node.component, node.zone) for node in scene.nodes.values()]
    return tuple(scene.nodes[name] for name in select(target.words, candidates, scene.roles, scene.random))


def targets(fault: Fault) -> Iterator[tuple[str, Target]]:
    """The name and value of each field that names nodes."""
    for field in fields(fault):
        value = getattr(fault, field.name)
        if isinstance(value, Target):
            yield field.name, value
