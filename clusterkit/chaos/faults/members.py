"""L9. Nodes that join and leave in the middle of a test, by the system's own procedure, and that go or come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target, some, spot
from clusterkit.chaos.faults.process import beside as others_than
from clusterkit.chaos.faults.process import untouched
from clusterkit.errors import UsageError
from clusterkit.node import State


@dataclass(frozen=True)
class _Scaling(Fault):
    """What both share: in the ledger with the counts of before, so that any process can heal them.

    It does what `clusterkit scale` does, so that nodes that do not run are started meanwhile. A lease that ends does
    not scale back: `clusterkit chaos heal` before that, or the next `up`, does.
    """

    family: ClassVar[Family] = "process"
    needs: ClassVar[tuple[str, ...]] = ("down",)
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    is_divisible: ClassVar[bool] = False
    sign: ClassVar[int] = 1

    target: Target
    """Nodes of the components that are meant."""
    nodes: int = 1
    """How many nodes; of what needs an odd number, 2."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        components = list(dict.fromkeys(node.component for node in nodes))
        now = Counter(node.component for node in scene.nodes.values() if node.component in components)
        wanted = {name: now[name] + self.sign * self.nodes for name in components}
        if self.nodes < 1 or min(wanted.values()) < 1:
            raise UsageError(
                f"{self.name} by {self.nodes}: no node of {components[0]} would be left",
                mend="a number from 1 on, and less than it has nodes",
            )
        mine = [node for node in scene.nodes.values() if node.component in components]
        words = ", ".join(f"{name} to {count} nodes" for name, count in wanted.items())
        return Order(
            cluster=scene.cluster,
            fault=self.name,
            kind="down",
            words=f"{self.name} {words}",
            nodes=tuple(node.name for node in mine),
            args={
                "nodes": [spot(node) for node in mine],
                "beside": others_than(scene, mine),
                "before": dict(now),
                "wanted": wanted,
            },
        )

    def inject(self, scene: Scene, chosen: Chosen, lease_s: float | None, *, pretend: bool = False) -> Mark:
        mark = super().inject(scene, chosen, lease_s, pretend=pretend)
        if not pretend:
            try:
                scene.scale(mark.args["wanted"])
            except BaseException:
                self.heal(scene, mark)
                raise
        return mark

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """Those that run now. `scale` has ended when clients could write through one and read through another."""
        wanted: Mapping[str, int] = mark.args["wanted"]
        now = _running(scene)
        done = [name for name, count in wanted.items() if now[name] == count]
        before: Mapping[str, Any] = mark.before["beside"]
        others = untouched(scene, mark, before)
        alive = scene.agent.call("lives", nodes=others) if others else {}
        well = [node["name"] for node in others if alive[node["name"]] == before[node["name"]]]
        return Effect(
            asked=", ".join(f"{count} nodes of {name}" for name, count in wanted.items()),
            seen=", ".join(f"{now[name]} run" for name in wanted),
            bites=len(done) == len(wanted),
            beside=f"{len(well)} of {len(others)} other services the same as before" if others else "",
            beside_is_well=len(well) == len(others),
            numbers={"nodes": sum(now[name] for name in wanted), "others_well": len(well)},
        )

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        now = _running(scene)
        if any(now[name] != count for name, count in mark.args["before"].items()):
            scene.scale(mark.args["before"])
        scene.agent.heal(mark.id)


@dataclass(frozen=True)
class Grow(_Scaling):
    """Let nodes join, by the system's own procedure; healed, they leave again."""

    name: ClassVar[str] = "grow"
    example: ClassVar[str] = "grow cache --for 30s"

    target: Target
    """Nodes of the components that grow."""
    nodes: int = 1
    """How many nodes; of what needs an odd number, 2."""


@dataclass(frozen=True)
class Shrink(_Scaling):
    """Let the last nodes leave with their data, by the system's own procedure; healed, new ones join."""

    name: ClassVar[str] = "shrink"
    example: ClassVar[str] = "shrink registry --nodes 2 --for 30s"
    sign: ClassVar[int] = -1

    target: Target
    """Nodes of the components that shrink."""
    nodes: int = 1
    """How many nodes; of what needs an odd number, 2."""


def _running(scene: Scene) -> Counter[str]:
    return Counter(node.component for node in scene.look().nodes.values() if node.state is State.RUNNING)
