"""L5. Disks of nodes that are full, slow, or stand still."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .. import loop, mounts, nodes, on_disk
from ..entry import Entry
from ..kind import Box, Kind, Refused
from .process import alive

Spot = Mapping[str, str]

_LOOP_MAJOR = 7
_SECONDS = 2.0
_TRIAL = ".trial"
"""No cluster can have this name."""
_PROBES = ("room", "sync", "rate")


class OnDisks(Kind):
    """`args`: `nodes`, `beside`. `before`: `mains` and `beside`, the lives of the services that ran, by node name."""

    def trial(self) -> str:
        return _tried()

    def look(self, entry: Entry) -> dict[str, Any]:
        for node in entry.args["nodes"]:
            if not _device(entry.cluster, node):
                mounts.needed(entry.cluster, node)
                raise Refused(f"{node['name']} has no disk of its own", "set data: loop for its component")
            if self.name != Stall.name:
                needs_motion(self.box, entry, node)
        return {"mains": alive(entry.args["nodes"]), "beside": alive(entry.args["beside"])}

    def others(self, entry: Entry, node: Spot) -> list[Entry]:
        """Those in force that want the same of a node."""
        return [
            other
            for other in self.box.entries(self.name, entry.cluster)
            if other.id != entry.id and node["name"] in (one["name"] for one in other.args["nodes"])
        ]


class Full(OnDisks):
    """`args`: also `leave`, the bytes that stay free. The room is taken by a file, which a restart does not change."""

    name = "disk-full"

    def make(self, entry: Entry) -> None:
        do_all(entry.cluster, entry.args["nodes"], "fill", {"leave": entry.args["leave"]})

    def sweep(self) -> None:
        """Disks are attached again after the machine was started anew; devices of deleted ones are let go."""
        loop.clear_lost()
        loop.attach_all()

    def undo(self, entry: Entry) -> None:
        """Another one on the same disk takes its own room again."""
        for node in entry.args["nodes"]:
            needs_motion(self.box, entry, node)
        do_all(entry.cluster, entry.args["nodes"], "empty")
        for node in entry.args["nodes"]:
            left = [int(other.args["leave"]) for other in self.others(entry, node)]
            if left:
                do_all(entry.cluster, [node], "fill", {"leave": min(left)})


class Stall(OnDisks):
    """Whatever a service writes waits. A node that is being killed is let go: it could not end before."""

    name = "disk-stall"

    def __init__(self, box: Box) -> None:
        super().__init__(box)
        self._frozen: dict[tuple[str, str], int | None] = {}

    def make(self, entry: Entry) -> None:
        self._freeze(entry, entry.args["nodes"])

    def keep(self, entry: Entry) -> None:
        """Freezes what was mounted again since; a node that does not run has nothing to be held up."""
        dying = [node for node in entry.args["nodes"] if _is_being_killed(node)]
        if dying:
            do_all(entry.cluster, dying, "thaw")
        anew = [
            node
            for node in entry.args["nodes"]
            if node not in dying and self._frozen.get((entry.id, node["id"])) != nodes.init(node["id"])
        ]
        self._freeze(entry, [node for node in anew if nodes.init(node["id"]) is not None])

    def undo(self, entry: Entry) -> None:
        wanted = [node for node in entry.args["nodes"] if not self.others(entry, node)]
        do_all(entry.cluster, wanted, "thaw")
        self._frozen = {key: pid for key, pid in self._frozen.items() if key[0] != entry.id}

    def sweep(self) -> None:
        """No disk may stand still that no entry accounts for."""
        wanted = {(one.cluster, node["name"]) for one in self.box.entries(self.name) for node in one.args["nodes"]}
        for image in loop.images():
            if (image.parent.name, image.stem) not in wanted:
                do_all(image.parent.name, [{"name": image.stem, "id": "unknown"}], "thaw")

    def _freeze(self, entry: Entry, wanted: Sequence[Spot]) -> None:
        do_all(entry.cluster, wanted, "freeze")
        for node in wanted:
            self._frozen[entry.id, node["id"]] = nodes.init(node["id"])


class Slow(OnDisks):
    """`args`: also `bytes_per_s` and `operations_per_s`, 0 for no limit; for reads and for writes, each by itself.

    The limits are those of the node's cgroup for the device of its disk; a node that was restarted has a new cgroup.
    Nobody else sets limits for our devices: where no entry wants one there is none. Source: blkio-controller(v1),
    cgroup-v2, "IO Interface Files".
    """

    name = "disk-slow"

    def __init__(self, box: Box) -> None:
        super().__init__(box)
        self._slow: dict[tuple[str, str], int | None] = {}

    def trial(self) -> str:
        """Only looked at: in the group of a node alone there is something to be tried."""
        groups = nodes.CGROUPS if nodes.is_unified() else nodes.CGROUPS / "blkio"
        file = "io.max" if nodes.is_unified() else "blkio.throttle.write_bps_device"
        return _tried() or ("" if any(groups.glob(f"*/{file}")) else f"no cgroup has {file}: disks cannot be limited")

    def make(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            self._limit(entry, node, [entry])

    def keep(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            if self._slow.get((entry.id, node["id"])) != nodes.init(node["id"]):
                self._limit(entry, node, [entry])

    def undo(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            self._limit(entry, node, [])
        self._slow = {key: pid for key, pid in self._slow.items() if key[0] != entry.id}

    def _limit(self, entry: Entry, node: Spot, own: list[Entry]) -> None:
        """The least that any entry in force allows."""
        group = nodes.cgroup(node["id"], "blkio")
        number = loop.find(loop.image_of(entry.cluster, node["name"]))
        wanted = [*own, *self.others(entry, node)]
        limits = [
            min((one.args[key] for one in wanted if one.args[key]), default=0)
            for key in ("bytes_per_s", "operations_per_s")
        ]
        if group is not None and number is not None:
            for file, line in _lines(number, *limits):
                (group / file).write_text(line)
        self._slow[entry.id, node["id"]] = nodes.init(node["id"])


@cache
def _tried() -> str:
    """On a small disk of nobody's."""
    node = {"name": "disk", "id": "none"}
    try:
        loop.make(_TRIAL, node["name"], loop.SMALLEST)
        for do, args in (("fill", {"leave": 0}), ("empty", {}), ("freeze", {}), ("thaw", {}), ("sync", {})):
            do_all(_TRIAL, [node], do, args)
    finally:
        loop.remove(loop.image_of(_TRIAL, node["name"]))
    return ""


def _lines(number: int, bytes_per_s: int, operations_per_s: int) -> list[tuple[str, str]]:
    """What to write to which file of a cgroup; 0 is no limit."""
    device = f"{_LOOP_MAJOR}:{number}"
    if nodes.is_unified():
        size, count = (str(limit or "max") for limit in (bytes_per_s, operations_per_s))
        return [("io.max", f"{device} rbps={size} wbps={size} riops={count} wiops={count}")]
    return [
        (f"blkio.throttle.{way}_{unit}_device", f"{device} {limit}")
        for way in ("read", "write")
        for unit, limit in (("bps", bytes_per_s), ("iops", operations_per_s))
    ]


def needs_motion(box: Box, entry: Entry, node: Spot) -> None:
    """Raises: Refused where the disk stands still: nothing could be done on it."""
    for other in box.entries(Stall.name, entry.cluster):
        if node["name"] in other.nodes:
            raise Refused(f"the disk of {node['name']} stands still", f"clusterkit chaos heal {other.id}")


def _is_being_killed(node: Spot) -> bool:
    """Whether a process of the node has been sent a KILL that it could not act on yet."""
    for pid in nodes.processes(node["id"]):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # it ended while we looked
            continue
        pending = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:"))]
        if any(mask >> (signal.SIGKILL - 1) & 1 for mask in pending):
            return True
    return False


def _device(cluster: str, node: Spot) -> str:
    """The device of a node's disk from here, "" where it has none."""
    number = loop.attach(loop.image_of(cluster, node["name"]))
    return "" if number is None else f"{loop.DEVICES}/loop{number}"


def asked(
    cluster: str, wanted: Iterable[Spot], do: str, seconds: float, given: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """node name -> what a piece of work on its disk gave; side by side. Those without a disk are left out.

    An `id` of "" is this machine, whose disk is the one that the agent lies on.
    """
    devices = {node["name"]: _device(cluster, node) if node["id"] else "" for node in wanted}
    devices = {node["name"]: devices[node["name"]] for node in wanted if devices[node["name"]] or not node["id"]}
    with ThreadPoolExecutor(max(1, len(devices))) as threads:
        begun = {
            name: threads.submit(on_disk.ask, device, do, seconds, **given.get(name, {}))
            for name, device in devices.items()
        }
        return {name: done.result() for name, done in begun.items()}


def do_all(cluster: str, wanted: Sequence[Spot], do: str, args: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Raises: Refused for the first that could not be done, when all were tried."""
    found = asked(cluster, wanted, do, _SECONDS, {node["name"]: args for node in wanted})
    for name, answer in found.items():
        if answer["error"]:
            raise Refused(f"{name}: the disk could not be made to {do}: {answer['error']}", "try again")


def disk_probe(args: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What writing to disks is like now: node name -> the answer of on_disk.ask(do). Those without a disk are left out.

    `cluster`; `nodes` and `beside`; `do`, "room", "sync" or "rate"; `args` for it; `seconds` until there is no answer.
    """
    if args["do"] not in _PROBES:
        raise Refused(f"{args['do']} is no measurement", "")
    wanted = [*args["nodes"], *args["beside"]]
    given = {node["name"]: dict(args["args"]) for node in wanted}
    if args["do"] == "rate":
        for node in wanted:
            given[node["name"]]["group"] = str(nodes.cgroup(node["id"], "blkio") or "")
    return asked(args["cluster"], wanted, args["do"], float(args["seconds"]), given)


KINDS = (Full, Slow, Stall)
CALLS = {
    "disks_make": loop.disks_make,
    "disks_remove": loop.disks_remove,
    "disks": loop.disks,
    "disk_probe": disk_probe,
}
