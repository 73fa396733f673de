"""L9. Disks that end: power that is lost, devices that fail, file systems that become read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from signal import SIGKILL
from typing import ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target, names, other_marks, some
from clusterkit.chaos.faults.process import bring_back, down, down_effect
from clusterkit.errors import EnvironmentTrouble


@dataclass(frozen=True)
class PowerLoss(Fault):
    """Cut the power of nodes, all at the same moment: what was not synced is gone. Healed, they are started again."""

    name: ClassVar[str] = "power-loss"
    family: ClassVar[Family] = "power"
    needs: ClassVar[tuple[str, ...]] = ("power",)
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "power-loss registry --for 5s"
    needs_disk: ClassVar[bool] = True

    target: Target
    """The nodes that lose their power."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        return down(scene, self.name, nodes, f"cut the power of {names(nodes)}", kind="power", signal=int(SIGKILL))

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """They are down, and a file that was not synced is on no disk any more. Once they run again they are whole."""
        effect = down_effect(scene, mark)
        disks = [node for node in mark.args["nodes"] if node["name"] in mark.before["disks"]]
        found: Mapping[str, bool | None] = scene.agent.call(
            "unsynced", cluster=mark.cluster, nodes=disks, token=mark.before["token"]
        )
        gone = [name for name, is_there in found.items() if is_there is False]
        lost = f", what was not synced gone from {len(gone)} of {len(found)} disks" if effect.bites else ""
        return Effect(
            asked=f"{effect.asked}, what was not synced gone",
            seen=effect.seen + lost,
            bites=effect.bites and len(gone) == len(found),
            beside=effect.beside,
            beside_is_well=effect.beside_is_well,
            numbers={**effect.numbers, "disks_without_unsynced": len(gone)},
        )

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        bring_back(scene, mark)
        scene.agent.heal(mark.id)


@dataclass(frozen=True)
class _Failing(Fault):
    """What both share that make writes fail: measured by writes; the disk is well again when it is mounted anew."""

    family: ClassVar[Family] = "disk"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    needs_disk: ClassVar[bool] = True
    error: ClassVar[str] = ""

    target: Target
    """The nodes whose disks fail."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        return down(scene, self.name, nodes, f"{self.name} on {names(nodes)}", kind=self.name)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """A service that ended because of it has felt it."""
        touched = {name for other in other_marks(scene, mark) for name in other.nodes}
        beside = [node for node in mark.args["beside"] if node["name"] not in touched]
        found = scene.agent.call("writes", cluster=mark.cluster, nodes=[*mark.args["nodes"], *beside])
        hit = {node["name"]: found[node["name"]] for node in mark.args["nodes"]}
        felt = [name for name, said in hit.items() if said in (self.error, "down")]
        others = {node["name"]: found[node["name"]] for node in beside if found[node["name"]] != "down"}
        well = [name for name, said in others.items() if said == "ok"]
        words = {"down": "its service ended"}
        return Effect(
            asked=f"writes fail ({self.error})",
            seen=", ".join(dict.fromkeys(words.get(said, said) for said in hit.values())),
            bites=bool(hit) and len(felt) == len(hit),
            beside=f"{len(well)} of {len(others)} other disks can be written" if others else "",
            beside_is_well=len(well) == len(others),
            numbers={"disks_failing": len(felt), "other_disks_well": len(well)},
        )

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        """The nodes are ended, their disks checked, and all started again. One that is well already is left alone."""
        wanted = {node["name"]: node for node in mark.args["nodes"]}
        now = scene.look().nodes
        there = [node for name, node in wanted.items() if name in now and now[name].runtime_id == node["id"]]
        said = scene.agent.call("writes", cluster=mark.cluster, nodes=there) if there else {}
        ill = [node for node in there if said[node["name"]] != "ok"]
        for node in ill:
            try:
                scene.service(now[node["name"]]).kill()
            except EnvironmentTrouble:  # it ended by itself
                continue
        if ill:
            scene.agent.call("disks_check", cluster=mark.cluster, nodes=ill)
        bring_back(scene, mark)
        scene.agent.heal(mark.id)


@dataclass(frozen=True)
class DiskError(_Failing):
    """Let every read and write of nodes' disks fail, as a dead device does; healed, the nodes are restarted."""

    name: ClassVar[str] = "disk-error"
    needs: ClassVar[tuple[str, ...]] = ("disk-error",)
    example: ClassVar[str] = "disk-error cache-1 --for 20s"
    error: ClassVar[str] = "EIO"

    target: Target
    """The nodes whose disks fail."""


@dataclass(frozen=True)
class DiskReadOnly(_Failing):
    """Make nodes' disks read-only, as the kernel does when it meets an error; healed, the nodes are restarted."""

    name: ClassVar[str] = "disk-read-only"
    needs: ClassVar[tuple[str, ...]] = ("disk-read-only",)
    example: ClassVar[str] = 'disk-read-only "one of cache" --for 20s'
    error: ClassVar[str] = "EROFS"

    target: Target
    """The nodes whose disks become read-only."""
