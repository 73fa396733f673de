"""L9. What a fault is: one small frozen dataclass; its fields are its YAML keys and command line options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, Literal, Self

from clusterkit.agent.client import Agent, Mark, Order
from clusterkit.errors import UsageError
from clusterkit.providers.base import ClusterRecord, LiveNode, NodeRecord

Family = Literal["process", "partition", "link", "disk", "power", "clock", "dns", "resource", "zone"]

Chosen = Mapping[str, "tuple[NodeRecord, ...]"]
"""A fault's field of type Target -> the nodes that it means at this moment."""


@dataclass(frozen=True)
class Target:
    """Words that name nodes: "cache-1", "one of cache", "leader of registry", "zone a", "all"; see model/select.py."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises: ValueError, with the mend in its text."""
        if isinstance(text, cls):
            return text
        words = [text] if isinstance(text, str) else text
        if (
            not isinstance(words, list | tuple)
            or not words
            or not all(isinstance(word, str) and word for word in words)
        ):
            raise ValueError('a target is words that name nodes, for example "one of cache"')
        return cls(tuple(words))

    @property
    def is_everyone(self) -> bool:
        return self.words == ("everyone",)

    def __str__(self) -> str:
        return ", ".join(self.words)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        words = core_schema.union_schema([core_schema.str_schema(), core_schema.list_schema(core_schema.str_schema())])
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema(), json_schema_input_schema=words
        )


EVERYONE = Target(("everyone",))
"""All other nodes of the cluster."""

ALL = Target(("all",))


@dataclass(frozen=True)
class PortSpec:
    """A port with its protocol: "6379/tcp"."""

    number: int
    protocol: Literal["tcp", "udp"]

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises: ValueError, with the mend in its text."""
        if isinstance(text, cls):
            return text
        number, _, protocol = str(text).partition("/")
        if not protocol and number.isdigit():
            raise ValueError(f'port {number} needs its protocol; write "{number}/tcp" or "{number}/udp"')
        if protocol not in ("tcp", "udp") or not number.isdigit() or not 0 < int(number) < 65536:
            raise ValueError(f'"{text}" is not a port; write it like "6379/tcp"')
        return cls(int(number), "tcp" if protocol == "tcp" else "udp")

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )


@dataclass(frozen=True)
class Effect:
    """What a fault did, as the nodes felt it, beside what must not be affected.

    `asked` and `seen` are short texts of one measure ("200 ms", "203 ms"); `beside` says what was measured where
    nothing should have changed ("cache-1 to cache-2 0.1 ms"; "" where there is nothing like it). `numbers` are the same
    for programs: name with its unit -> value.
    """

    asked: str
    seen: str
    bites: bool
    beside: str = ""
    beside_is_well: bool = True
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        said = f"asked {self.asked}, seen {self.seen}"
        if not self.bites:
            said += ": did not bite"
        if self.beside:
            said += f"; beside it {self.beside}" + ("" if self.beside_is_well else ": affected, and must not be")
        return said


@dataclass(frozen=True)
class Scene:
    """A running cluster as faults see it. `nodes` are all of it, by name, as the engine had them when it was looked at.

    `service` acts on a node's service (start, stop); `wait_ready(names, seconds)` waits until these nodes are healthy,
    and raises NotReady; `roles()` asks the systems themselves: node name -> role names; `look()` is the same scene,
    looked at anew; `scale(component -> count)` lets nodes join and leave. `random` is where all chance comes from.
    `say` tells a person what is going on. `revive(names)` is for nodes that are about to be started: a system whose
    members have all ended may have to be told who begins.
    """

    cluster: str
    agent: Agent
    nodes: Mapping[str, NodeRecord]
    service: Callable[[NodeRecord], LiveNode]
    wait_ready: Callable[[Sequence[str], float], None]
    roles: Callable[[], Mapping[str, tuple[str, ...]]]
    find: Callable[[], ClusterRecord | None]
    say: Callable[[str], None]
    scale: Callable[[Mapping[str, int]], object]
    random: Random = field(default_factory=Random)
    revive: Callable[[Collection[str]], None] = lambda _names: None

    def look(self) -> Scene:
        record = self.find()
        return replace(self, nodes={node.name: node for node in record.nodes} if record else {})


@dataclass(frozen=True)
class Fault:
    """The base of all faults.

    name         the word in YAML and on the command line: "latency", "power-loss"
    family       what kind of trouble it is; a default suite has one of each
    needs        kinds of the agent that must pass their trial on this machine
    arguments    the fields that the command line takes by position, in order; all others are options
    example      a command line, without "clusterkit chaos"
    needs_disk   the nodes' data has to lie on a disk of its own (`data: loop`)
    is_lasting   it stays in force until it is healed; one that is over when it was made (a restart) is not
    lease_s      seconds after which it ends by itself where nobody says when
    keeps        `keep` has to be called every second while it is in force, by whoever made it
    is_divisible each of its target's nodes can be hit by itself (`stagger`)

    The class docstring's first sentence is its help. Text below a field is that field's help.
    """

    name: ClassVar[str] = ""
    family: ClassVar[Family]
    needs: ClassVar[tuple[str, ...]] = ()
    arguments: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str] = ""
    needs_disk: ClassVar[bool] = False
    is_lasting: ClassVar[bool] = True
    lease_s: ClassVar[float] = 600.0
    keeps: ClassVar[bool] = False
    is_divisible: ClassVar[bool] = True

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def check(self, zones: Mapping[str, str], meant: Mapping[str, Sequence[str]]) -> None:
        """Asked when the topology is read: can it be made at all? Raises: UsageError for what no choice could mend.

        `zones`: every node -> its zone. `meant`: field of type Target -> all nodes that its words may mean; when it is
        made they may mean fewer ("one of cache"), so that only what fails with all of them is to be refused.
        """

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        """What the agent is to do; pure but for the scene's chance. Raises: UsageError for what makes no sense here."""
        raise NotImplementedError

    def inject(self, scene: Scene, chosen: Chosen, lease_s: float | None, *, pretend: bool = False) -> Mark:
        """Makes it; it ends by itself after `lease_s` seconds (None: never)."""
        return scene.agent.inject(self.order(scene, chosen), lease_s, pretend=pretend)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """What the nodes feel of it now: by traffic, reads, writes or clocks, never by reading a rule back."""
        raise NotImplementedError

    def keep(self, scene: Scene, mark: Mark) -> None:
        """What has to be done again and again while it is in force, where the engine is needed for it."""

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        """Puts everything back as it was. Works in a new process, from the mark alone, and when it was done before."""
        scene.agent.heal(mark.id)


def spot(node: NodeRecord) -> dict[str, str]:
    """A node as the agent knows it."""
    return {"name": node.name, "address": node.address, "id": node.runtime_id}


HOST = {"name": "this machine", "address": "", "id": ""}
"""The host itself, as an end of a measurement."""


def other_marks(scene: Scene, mark: Mark) -> tuple[Mark, ...]:
    """The other faults in force in this cluster, of whatever kind: what they touch is no measure of this one."""
    return tuple(other for other in scene.agent.marks(scene.cluster) if other.id != mark.id)


def names(nodes: Sequence[NodeRecord]) -> str:
    """For people: "cache-1, cache-2"; of many, the first and how many."""
    words = [node.name for node in nodes]
    return ", ".join(words) if len(words) <= 4 else f"{words[0]} and {len(words) - 1} others"


def some(nodes: Sequence[NodeRecord], target: Target) -> tuple[NodeRecord, ...]:
    """The nodes, at least one. Raises: UsageError."""
    if not nodes:
        raise UsageError(f'"{target}" names no node', mend="`clusterkit status` lists nodes and roles")
    return tuple(nodes)
