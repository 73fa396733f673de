"""L9. Nodes whose processes are killed, stopped, paused or started again, and that come back."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target, names, other_marks, some, spot
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.errors import EnvironmentTrouble, NotReady
from clusterkit.node import State
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Duration

BESIDE = 3
"""How many other nodes are looked at, which must not be affected."""

_END_SECONDS = 5.0
_NOTICE_SECONDS = 10.0
_PAUSE_SECONDS = 0.05
_STOPPING = ("STOP", "TSTP", "TTIN", "TTOU", "CONT")
_DOWN = (State.CREATED, State.EXITED)


@dataclass(frozen=True)
class Signal:
    """A signal by its number; read from its name or number: "TERM", "SIGHUP", "9"."""

    number: int

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises: ValueError, with the mend in its text."""
        if isinstance(text, cls):
            return text
        word = str(text).strip().upper().removeprefix("SIG")
        known = {signal.name.removeprefix("SIG"): int(signal) for signal in signals.Signals}
        number = known.get(word, int(word) if word.isdecimal() else 0)
        if isinstance(text, bool) or not 0 < number < signals.NSIG:
            raise ValueError(f'"{text}" is not a signal; write its name or number, for example TERM')
        if str(cls(number)) in _STOPPING:
            raise ValueError(f'{cls(number)} ends no process; use "pause", which stops all of a node\'s')
        return cls(number)

    def __str__(self) -> str:
        if self.number not in signals.Signals._value2member_map_:
            return str(self.number)
        return signals.Signals(self.number).name.removeprefix("SIG")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        known = core_schema.union_schema([core_schema.str_schema(), core_schema.int_schema()])
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema(), json_schema_input_schema=known
        )


KILL = Signal(signals.SIGKILL)
GRACE = Duration(10)
HEALTHY_WITHIN = Duration(60)


@dataclass(frozen=True)
class _Ending(Fault):
    """What all share that end processes: in the ledger before the engine acts, so that any process can heal them."""

    family: ClassVar[Family] = "process"
    arguments: ClassVar[tuple[str, ...]] = ("target",)

    target: Target
    """The nodes that end."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        return down(scene, self.name, nodes, f"{self.name} {names(nodes)}")

    def inject(self, scene: Scene, chosen: Chosen, lease_s: float | None, *, pretend: bool = False) -> Mark:
        mark = super().inject(scene, chosen, lease_s, pretend=pretend)
        if not pretend:
            try:
                self.act(scene, [node for node in chosen["target"] if node.name in mark.before["mains"]])
            except BaseException:
                self.heal(scene, mark)
                raise
            if not self.is_lasting:
                scene.agent.heal(mark.id)
        return mark

    def act(self, scene: Scene, nodes: Sequence[NodeRecord]) -> None:
        """What the engine does, once the fault is in the ledger; `nodes` are those that ran."""

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        return down_effect(scene, mark)

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        bring_back(scene, mark)
        scene.agent.heal(mark.id)


@dataclass(frozen=True)
class Kill(_Ending):
    """End nodes at once by a signal, all at the same moment; healed, they are started again.

    KILL ends the whole node, any other signal goes to its service, which may survive it.
    """

    name: ClassVar[str] = "kill"
    needs: ClassVar[tuple[str, ...]] = ("kill",)
    example: ClassVar[str] = 'kill "leader of registry" --for 10s'

    target: Target
    """The nodes that are killed."""
    signal: Signal = KILL
    """The signal, by name or number: TERM, 15."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        words = f"kill {names(nodes)}" + ("" if self.signal == KILL else f" by {self.signal}")
        return down(scene, self.name, nodes, words, kind="kill", signal=self.signal.number)


@dataclass(frozen=True)
class Stop(_Ending):
    """Stop nodes in good order; healed, they are started again."""

    name: ClassVar[str] = "stop"
    needs: ClassVar[tuple[str, ...]] = ("down",)
    example: ClassVar[str] = "stop cache-1 --grace 2s --for 20s"

    target: Target
    """The nodes that are stopped, side by side."""
    grace: Duration = GRACE
    """How long they may take to end before they are killed."""

    def act(self, scene: Scene, nodes: Sequence[NodeRecord]) -> None:
        _side_by_side(lambda node: scene.service(node).stop(self.grace.seconds), nodes)


@dataclass(frozen=True)
class _Restarting(_Ending):
    """Those that are over when they were made."""

    needs: ClassVar[tuple[str, ...]] = ("down",)
    is_lasting: ClassVar[bool] = False

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        before = _lives(mark)
        now = _ask(scene, mark, until="another")
        anew = [name for name, life in before.items() if now.get(name) not in (None, life)]
        return _effect(scene, mark, f"{len(before)} started anew", anew, "started anew")


@dataclass(frozen=True)
class Restart(_Restarting):
    """Stop nodes in good order and start them again at once, side by side."""

    name: ClassVar[str] = "restart"
    example: ClassVar[str] = "restart cache"

    target: Target
    """The nodes that are restarted."""
    grace: Duration = GRACE
    """How long they may take to end before they are killed."""

    def act(self, scene: Scene, nodes: Sequence[NodeRecord]) -> None:
        _side_by_side(lambda node: _restart(scene, node, self.grace), nodes)


@dataclass(frozen=True)
class RollingRestart(_Restarting):
    """Restart nodes one after another, each when the one before it is healthy again: an upgrade, say."""

    name: ClassVar[str] = "rolling-restart"
    example: ClassVar[str] = "rolling-restart registry"

    target: Target
    """The nodes that are restarted, in the order of their names."""
    grace: Duration = GRACE
    """How long each may take to end before it is killed."""
    wait: Duration = HEALTHY_WITHIN
    """How long each may take to be healthy again."""

    def act(self, scene: Scene, nodes: Sequence[NodeRecord]) -> None:
        for node in nodes:
            _restart(scene, node, self.grace)
            scene.wait_ready([node.name], self.wait.seconds)


@dataclass(frozen=True)
class CrashLoop(_Ending):
    """Kill nodes, start them, and kill them again each time they are ready; healed, they stay up.

    Measured when it is made: each is down then.
    """

    name: ClassVar[str] = "crash-loop"
    needs: ClassVar[tuple[str, ...]] = ("down",)
    keeps: ClassVar[bool] = True
    example: ClassVar[str] = "crash-loop cache-2 --for 30s"

    target: Target
    """The nodes that crash."""

    def act(self, scene: Scene, nodes: Sequence[NodeRecord]) -> None:
        _side_by_side(lambda node: scene.service(node).kill(), nodes)

    def keep(self, scene: Scene, mark: Mark) -> None:
        nodes = [node for name, node in scene.look().nodes.items() if name in _lives(mark)]
        _side_by_side(lambda node: _start(scene, node), [node for node in nodes if node.state in _DOWN])
        ready = [node for node in nodes if node.state is State.RUNNING and _is_ready(scene, node)]
        _side_by_side(lambda node: scene.service(node).kill(), ready)


@dataclass(frozen=True)
class Pause(Fault):
    """Stop all processes of nodes, as a long garbage collection or a suspended machine does; their memory stays.

    Connections stay open and nobody answers. A node that is restarted meanwhile runs: it is not paused again.
    """

    name: ClassVar[str] = "pause"
    family: ClassVar[Family] = "process"
    needs: ClassVar[tuple[str, ...]] = ("pause",)
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = 'pause "one of cache" --for 15s'

    target: Target
    """The nodes that are paused."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        order = down(scene, self.name, nodes, f"pause {names(nodes)}", kind="pause")
        return Order(**{**vars(order), "engine": False})

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        nodes = [node for node in mark.args["nodes"] if node["name"] in _lives(mark)]
        beside = untouched(scene, mark, mark.before["beside"])
        found = scene.agent.call("moves", nodes=[*nodes, *beside], wait_s=0.3)
        still = [node["name"] for node in nodes if _stands_still(found[node["name"]])]
        well = [
            node["name"]
            for node in beside
            if found[node["name"]]["life"] == mark.before["beside"][node["name"]]
            and not _stands_still(found[node["name"]])
        ]
        switches = sum(found[node["name"]]["switches"] for node in nodes)
        return Effect(
            asked=f"{len(nodes)} paused",
            seen=f"{len(still)} of {len(nodes)} stand still ({switches} context switches in 300 ms)",
            bites=bool(nodes) and len(still) == len(nodes),
            beside=f"{len(well)} of {len(beside)} other nodes run as before" if beside else "",
            beside_is_well=len(well) == len(beside),
            numbers={"paused": len(still), "context_switches": switches, "others_well": len(well)},
        )


def down(scene: Scene, fault: str, nodes: Sequence[NodeRecord], words: str, kind: str = "down", **args: Any) -> Order:
    """The order of a fault that ends nodes; the agent notes which services ran, there and beside."""
    return Order(
        cluster=scene.cluster,
        fault=fault,
        kind=kind,
        words=words,
        nodes=tuple(node.name for node in nodes),
        args={"nodes": [spot(node) for node in nodes], "beside": beside(scene, nodes), **args},
        engine=True,
    )


def beside(scene: Scene, nodes: Iterable[NodeRecord]) -> list[dict[str, str]]:
    """Some other nodes, of the cluster and of none that a fault in force touches."""
    taken = {node.name for node in nodes} | {name for mark in scene.agent.marks(scene.cluster) for name in mark.nodes}
    return [spot(node) for name, node in sorted(scene.nodes.items()) if name not in taken][:BESIDE]


def untouched(scene: Scene, mark: Mark, known: Collection[str]) -> list[Mapping[str, str]]:
    """Of the nodes beside, those that the agent found fit when it looked, and that no other fault touches now."""
    touched = {name for other in other_marks(scene, mark) for name in other.nodes}
    return [node for node in mark.args["beside"] if node["name"] in known and node["name"] not in touched]


def down_effect(scene: Scene, mark: Mark) -> Effect:
    """Whether the services that ran when a fault was made have ended, and none runs in their place."""
    before = _lives(mark)
    now = _ask(scene, mark, until="gone")
    ended = [name for name in before if now.get(name) is None]
    survived = [name for name, life in before.items() if now.get(name) == life]
    effect = _effect(scene, mark, f"{len(before)} down", ended, "down")
    signal = mark.args.get("signal")
    if survived and signal:
        seen = f"{effect.seen}, {Signal(signal)} was survived by {', '.join(survived)}"
        return Effect(**{**vars(effect), "seen": seen})
    return effect


def bring_back(scene: Scene, mark: Mark) -> None:
    """Starts the nodes that a fault has ended, side by side, but for those that another one in force holds down.

    One that was removed meanwhile has nothing to be brought back. Raises: EnvironmentTrouble.
    """
    held = {name for one in other_marks(scene, mark) if one.engine for name in one.before.get("mains", {})}
    deadline = Deadline(_NOTICE_SECONDS)
    started: set[str] = set()
    while True:
        now = scene.look()
        nodes = [node for name, node in now.nodes.items() if name in _lives(mark) and name not in held]
        down = [node for node in nodes if node.state in _DOWN and node.name not in started]
        if down:
            now.revive([node.name for node in down])
        _side_by_side(lambda node: _start(scene, node), down)
        started.update(node.name for node in down)
        if down:
            continue
        running = [spot(node) for node in nodes if node.state is State.RUNNING]
        # An engine needs a moment to notice that a process has ended, and starts nothing that it takes to be running;
        # and the first process of a node that was just started needs a moment to start the service.
        alive = scene.agent.call("lives", nodes=running) if running else {}
        if all(alive.values()) or deadline.is_over:
            return
        SYSTEM.sleep(_PAUSE_SECONDS)


def _effect(scene: Scene, mark: Mark, asked: str, done: Sequence[str], word: str) -> Effect:
    """`done`: the nodes that felt it. The services of others must be the same as before."""
    before: Mapping[str, list[int]] = mark.before["beside"]
    others = untouched(scene, mark, before)
    now = scene.agent.call("lives", nodes=others) if others else {}
    well = [node["name"] for node in others if now[node["name"]] == before[node["name"]]]
    return Effect(
        asked=asked,
        seen=f"{len(done)} of {len(_lives(mark))} {word}",
        bites=bool(done) and len(done) == len(_lives(mark)),
        beside=f"{len(well)} of {len(others)} other services the same as before" if others else "",
        beside_is_well=len(well) == len(others),
        numbers={word.replace(" ", "_"): len(done), "others_well": len(well)},
    )


def _ask(scene: Scene, mark: Mark, until: str) -> Mapping[str, list[int] | None]:
    """The services of the nodes as they are now, also where a node was made anew.

    They are given time to end where the fault has just been made: a mark that was asked for later, or of one that was
    not made, took no time.
    """
    wait_s = _END_SECONDS if mark.made_in_s > 0 else 0.0
    nodes = [
        spot(scene.nodes[node["name"]]) if node["name"] in scene.nodes else node
        for node in mark.args["nodes"]
        if node["name"] in _lives(mark)
    ]
    found: Mapping[str, list[int] | None] = scene.agent.call(
        "lives", nodes=nodes, was=dict(_lives(mark)), until=until, wait_s=wait_s
    )
    return found


def _lives(mark: Mark) -> Mapping[str, list[int]]:
    """The services that ran when it was made: node name -> [pid, start]."""
    lives: Mapping[str, list[int]] = mark.before["mains"]
    return lives


def _stands_still(found: Mapping[str, Any]) -> bool:
    """All its processes are stopped, and none did anything."""
    count, stopped, switches, ticks = (int(found[key]) for key in ("processes", "stopped", "switches", "cpu_ticks"))
    return 0 < count == stopped and switches == 0 and ticks == 0


def _restart(scene: Scene, node: NodeRecord, grace: Duration) -> None:
    service = scene.service(node)
    service.stop(grace.seconds)
    service.start()


def _start(scene: Scene, node: NodeRecord) -> None:
    """One that was removed or made anew while we looked has nothing to be started."""
    try:
        scene.service(node).start()
    except EnvironmentTrouble:
        now = scene.look().nodes.get(node.name)
        if now is not None and now.runtime_id == node.runtime_id:
            raise


def _is_ready(scene: Scene, node: NodeRecord) -> bool:
    try:
        scene.wait_ready([node.name], 0)
    except NotReady:
        return False
    return True


def _side_by_side(do: Callable[[NodeRecord], None], nodes: Sequence[NodeRecord]) -> None:
    """Raises: the first error, when all have been tried."""
    if not nodes:
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=len(nodes)) as threads:
        for done in [threads.submit(do, node) for node in nodes]:
            done.result()
