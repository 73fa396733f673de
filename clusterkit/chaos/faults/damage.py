"""L9. Files that are damaged: their end is missing, or a bit of them is another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target, names, some
from clusterkit.chaos.faults.disk import beside_of, probe_disks
from clusterkit.chaos.faults.process import bring_back, down
from clusterkit.units import Size

_CUT = Size.parse("512B")
_SECONDS = 5.0


@dataclass(frozen=True)
class _Damaging(Fault):
    """What both share: the place is read again. Healed, it is as it was, unless somebody has written there since."""

    family: ClassVar[Family] = "disk"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    needs_disk: ClassVar[bool] = True

    target: Target
    """The nodes with a damaged file."""

    def ordered(self, scene: Scene, chosen: Chosen, words: str, pattern: str, cut_bytes: int) -> Order:
        nodes = some(chosen["target"], self.target)
        chances = {node.name: {"share": scene.random.random(), "bit": scene.random.randrange(8)} for node in nodes}
        args = {"pattern": pattern, "bytes": cut_bytes, "chances": chances}
        order = down(scene, self.name, nodes, words.format(names(nodes)), kind=self.name, **args)
        return Order(**{**vars(order), "engine": False})

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        found = _look(scene, mark)
        damaged = [name for name, said in found.items() if said["is_damaged"]]
        _, others = probe_disks(scene, mark, "sync", _SECONDS)
        well = [name for name, answer in others.items() if not answer["error"]]
        return Effect(
            asked=f"{_files(mark, [node['name'] for node in mark.args['nodes']])} damaged",
            seen=f"{_files(mark, damaged) or 'nothing'} damaged",
            bites=bool(found) and len(damaged) == len(mark.nodes),
            beside=beside_of(others, "take a write"),
            beside_is_well=len(well) == len(others),
            numbers={"files_damaged": len(damaged), "other_disks_well": len(well)},
        )

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        """Services that ended because of it are started again. What cannot be put back is told."""
        lost = [name for name, said in _look(scene, mark).items() if not said["can_be_undone"]]
        if lost:
            scene.say(f"{mark.id}: {_files(mark, lost)} was written since: the damage stays")
        scene.agent.heal(mark.id)
        bring_back(scene, mark)


@dataclass(frozen=True)
class Truncate(_Damaging):
    """Cut off the end of a file of nodes, as a write that was torn; healed, the end is put back."""

    name: ClassVar[str] = "truncate"
    needs: ClassVar[tuple[str, ...]] = ("truncate",)
    example: ClassVar[str] = 'truncate registry-1 --file "*.wal" --bytes 1KB'

    target: Target
    """The nodes with a file that is cut off."""
    file: str = ""
    """Which file of its data, as a pattern ("*.wal"); else the one of the recently written that has the most in it."""
    bytes: Size = _CUT
    """How much is cut off."""

    def __post_init__(self) -> None:
        if not self.bytes.bytes:
            raise ValueError("bytes: nothing would be cut off; write 1B or more")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.ordered(scene, chosen, f"cut {self.bytes} off a file of {{}}", self.file, self.bytes.bytes)


@dataclass(frozen=True)
class BitFlip(_Damaging):
    """Change one bit in a file of nodes, as a bad disk does without a word; healed, it is put back."""

    name: ClassVar[str] = "bit-flip"
    needs: ClassVar[tuple[str, ...]] = ("bit-flip",)
    example: ClassVar[str] = 'bit-flip cache-2 --file "*.aof"'

    target: Target
    """The nodes with a file that is changed."""
    file: str = ""
    """Which file of its data, as a pattern ("*.wal"); else the one of the recently written that has the most in it."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.ordered(scene, chosen, "flip a bit in a file of {}", self.file, 1)


def _look(scene: Scene, mark: Mark) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = scene.agent.call(
        "damage", cluster=mark.cluster, kind=mark.kind, nodes=mark.args["nodes"], before=mark.before
    )
    return found


def _files(mark: Mark, nodes: Sequence[str]) -> str:
    return ", ".join(f"{node}:{mark.before['files'][node]['file']}" for node in nodes)
