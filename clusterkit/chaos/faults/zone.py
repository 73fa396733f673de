"""L9. A zone that is gone: all of its nodes by one of the other faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target
from clusterkit.chaos.registry import find_fault
from clusterkit.errors import UsageError
from clusterkit.model.words import did_you_mean

_FAULTS = {"kill": "kill", "power": "power-loss", "network": "cut"}


@dataclass(frozen=True)
class ZoneOutage(Fault):
    """Take a whole zone away: its nodes are killed, lose their power, or are cut off from all others.

    By network, the nodes of the zone still hear each other.
    """

    name: ClassVar[str] = "zone-outage"
    family: ClassVar[Family] = "zone"
    needs: ClassVar[tuple[str, ...]] = ("kill", "block")
    arguments: ClassVar[tuple[str, ...]] = ("zone",)
    example: ClassVar[str] = "zone-outage a --by network --for 30s"

    zone: str
    """The zone that is gone."""
    by: Literal["kill", "power", "network"] = "kill"
    """How it goes."""

    def order(self, scene: Scene, _chosen: Chosen) -> Order:
        ours = tuple(node for node in scene.nodes.values() if node.zone == self.zone)
        others = tuple(node for node in scene.nodes.values() if node.zone != self.zone)
        zones = {node.zone for node in scene.nodes.values()}
        if not ours:
            raise UsageError(f'no node is in zone "{self.zone}"', mend=did_you_mean(self.zone, zones, "zones"))
        if self.by == "network" and not others:
            raise UsageError(
                f'all nodes are in zone "{self.zone}": nobody is left to cut it off from', mend="write `by: kill`"
            )
        fault = _made_of(self.by)(target=Target((f"zone {self.zone}",)))  # type: ignore[call-arg]  # each has a target
        order = fault.order(scene, {"target": ours, "towards": others})
        words = f"zone {self.zone} is gone by {self.by}: {order.words}"
        return replace(order, fault=self.name, words=words, args={**order.args, "by": self.by})

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        fault = _made_of(mark.args["by"])(target=Target((f"zone {self.zone}",)))  # type: ignore[call-arg]  # as above
        return fault.measure(scene, mark)

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        _made_of(mark.args["by"]).heal(scene, mark)


def _made_of(by: str) -> type[Fault]:
    return find_fault(_FAULTS[by])
