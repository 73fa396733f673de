"""L9. A zone that is gone: all of its nodes by one of the other faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

from clusterkit.agent.client import Agent, Mark, Order
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
    is_divisible: ClassVar[bool] = False

    zone: str
    """The zone that is gone."""
    by: Literal["kill", "power", "network"] = "kill"
    """How it goes."""

    def check(self, zones: Mapping[str, str], _meant: Mapping[str, Sequence[str]]) -> None:
        known = set(zones.values())
        if self.zone not in known:
            raise UsageError(f'no node is in zone "{self.zone}"', mend=did_you_mean(self.zone, known, "zones"))
        if self.by == "network" and known == {self.zone}:
            raise UsageError(
                f'all nodes are in zone "{self.zone}": nobody is left to cut it off from', mend="write `by: kill`"
            )

    def order(self, scene: Scene, _chosen: Chosen) -> Order:
        return self._named(self._fault().order(scene, self._sides(scene)))

    def inject(self, scene: Scene, _chosen: Chosen, lease_s: float | None, *, pretend: bool = False) -> Mark:
        """As the fault that it is made of does it, but under the zone's name."""
        agent = cast(Agent, _Naming(scene.agent, self._named))
        return self._fault().inject(replace(scene, agent=agent), self._sides(scene), lease_s, pretend=pretend)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        return self._fault().measure(scene, mark)

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        _made_of(mark.args["by"]).heal(scene, mark)

    def _fault(self) -> Fault:
        return _made_of(self.by)(target=Target((f"zone {self.zone}",)))  # type: ignore[call-arg]  # each has a target

    def _sides(self, scene: Scene) -> Chosen:
        """Raises: UsageError."""
        self.check({node.name: node.zone for node in scene.nodes.values()}, {})
        ours = tuple(node for node in scene.nodes.values() if node.zone == self.zone)
        others = tuple(node for node in scene.nodes.values() if node.zone != self.zone)
        return {"target": ours, "towards": others}

    def _named(self, order: Order) -> Order:
        words = f"zone {self.zone} is gone by {self.by}: {order.words}"
        return replace(order, fault=self.name, words=words, args={**order.args, "by": self.by})


class _Naming:
    """The agent, to whom orders are given under another name."""

    def __init__(self, agent: Agent, name: Callable[[Order], Order]) -> None:
        self._agent = agent
        self._name = name

    def inject(self, order: Order, lease_s: float | None, *, pretend: bool = False) -> Mark:
        return self._agent.inject(self._name(order), lease_s, pretend=pretend)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)


def _made_of(by: str) -> type[Fault]:
    return find_fault(_FAULTS[by])
