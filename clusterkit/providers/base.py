"""L6. What a provider is: it creates, lists and destroys the nodes of a named cluster, and says what it can do.

`find` and `clusters` ask the runtime or the hosts, never a file of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from clusterkit.node import Ability, File, Node, Service, State

if TYPE_CHECKING:  # a plan brings pydantic along, which those who only look or break do not need
    from clusterkit.plan import NodePlan


@dataclass(frozen=True)
class NodeRecord:
    """What the runtime says of one node now. `parts` is all that the node was made from (render.tree.parts).

    `runtime_id` names this very container or machine: a recreated node has another. `born` is that of ClusterRecord, ""
    where it is not known: a log is archived under it.
    """

    name: str
    cluster: str
    component: str
    kind: str
    zone: str
    index: int
    address: str
    host_ports: Mapping[str, int]
    parts: Mapping[str, str]
    runtime_id: str
    state: State
    exit_code: int | None = None
    born: str = ""


@dataclass(frozen=True)
class ClusterRecord:
    """What the runtime says of a cluster: nodes in the order of component and index, and how many volumes it has.

    `source` is the topology file it was made from; `born` names this life of the cluster (another at each first `up`).
    `subnet` and `born` are "" where the network is gone. What data was kept on refers to old addresses: `kept_subnet`
    and `kept_addresses` (by node) are those that the volumes were made for. `devices`: node -> the device that its data
    volume mounts, "" for a plain volume; nodes without one are left out. `scale`: component -> how many nodes it was
    given by hand, where that is not what the topology says.
    """

    name: str
    source: str
    subnet: str
    born: str
    nodes: tuple[NodeRecord, ...]
    volumes: int = 0
    kept_subnet: str = ""
    kept_addresses: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, int] = field(default_factory=dict)

    def node(self, name: str) -> NodeRecord | None:
        return next((record for record in self.nodes if record.name == name), None)


@dataclass(frozen=True)
class Removed:
    """What a `down` took away beside the nodes."""

    networks: int = 0
    volumes: int = 0


@dataclass(frozen=True)
class ImageRecord:
    """What a node was made from: the name it was asked for by, and the digest that no other image has."""

    name: str
    digest: str


@dataclass(frozen=True)
class LogLine:
    """One line a node printed: `time_ns` (since 1970) as the runtime took it, `text` without the newline."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class Rendered:
    """A node ready to be made: its plan, the files put in before each start, the seeds put in once, its image."""

    plan: NodePlan
    files: tuple[File, ...]
    seeds: tuple[File, ...]
    image: str
    parts: Mapping[str, str]
    users: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class LiveNode(Node, Service, Protocol):
    """A node that exists."""


class Provider(Protocol):
    """Everything above this line knows nodes only through it."""

    @property
    def address(self) -> str:
        """Where the runtime answers, as its own programs take it (DOCKER_HOST)."""
        ...

    def abilities(self) -> frozenset[Ability]: ...

    def clusters(self) -> tuple[ClusterRecord, ...]: ...

    def find(self, cluster: str) -> ClusterRecord | None: ...

    def node(self, record: NodeRecord) -> LiveNode: ...

    def logs(self, record: NodeRecord, since_ns: int = 0, follow: bool = False) -> Iterator[LogLine]:
        """All lines in the order written, from the first the process printed; across restarts of the same node.

        `since_ns` leaves out lines written before it. With `follow`, goes on until the node ends (a restart begins a
        new stream: ask again). Closing the iterator closes the connection.
        """
        ...
