"""L1, pure. What the user asked for: immutable, defaulted, cross-checked; every value knows where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clusterkit.model.source import Where
from clusterkit.units import Duration, Size

Key = tuple[str | int, ...]
"""The way to a value from the top of the file: ("components", "cache", "replicas")."""

DEFAULT_REPLICAS = 3
DEFAULT_ZONES = ("a", "b", "c")
DEFAULT_TIMEOUT = Duration(120)
DEFAULT_DATA_SIZE = Size(256 * 2**20)


@dataclass(frozen=True)
class Raw:
    """A part of the file whose meaning another package knows: plain values (mappings, lists, scalars) and its key."""

    key: Key
    value: Any


@dataclass(frozen=True)
class Logging:
    """`limit`: the most that archived logs may take, None: no limit. `ship`: where lines are to be sent."""

    limit: Size | None = None
    ship: Raw | None = None


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine (absolute, resolved against the topology's folder) inside a node."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Build:
    """A Dockerfile's folder (absolute), the Dockerfile in it, and its build arguments."""

    context: Path
    dockerfile: str = "Dockerfile"
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ComponentSpec:
    """One component as asked for: what every kind has, and `options`, what only its own kind knows.

    `options` is an instance of the kind's own options type (frozen). `zones[i % len(zones)]` is the zone of replica i
    (from 0). `publish` pins host ports: name of a port -> host port of the first replica, the next ones follow.
    `data_size` is for `data: loop`, a disk of its own for each node.
    `depends_on` holds what the user wrote and what the options imply (a sentinel's `watches`).
    """

    name: str
    kind: str
    options: Any
    replicas: int = DEFAULT_REPLICAS
    zones: tuple[str, ...] = DEFAULT_ZONES
    image: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    publish: Mapping[str, int] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    cpus: float | None = None
    memory: Size | None = None
    data: Literal["volume", "loop"] = "volume"
    data_size: Size = DEFAULT_DATA_SIZE
    timeout: Duration = DEFAULT_TIMEOUT

    @property
    def node_names(self) -> tuple[str, ...]:
        """kvstore-1 to kvstore-3."""
        return tuple(f"{self.name}-{index}" for index in range(1, self.replicas + 1))


@dataclass(frozen=True)
class Topology:
    """A whole cluster as asked for. Equal topologies render to byte-equal text, wherever they were written.

    `scenarios` (name -> chaos.scenario.Scenario) and `links` (chaos.links.LinkSpec) are what `chaos:` and `links:` say.
    """

    name: str
    components: Mapping[str, ComponentSpec]
    zones: tuple[str, ...] = DEFAULT_ZONES
    provider: str = "docker"
    logging: Logging = Logging()
    scenarios: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Any, ...] = ()
    plugins: tuple[str, ...] = ()
    file: Path = field(default=Path("clusterkit.yml"), compare=False)
    positions: Mapping[Key, Where] = field(default_factory=dict, compare=False, repr=False)

    def where(self, *key: str | int) -> Where:
        """The place of a value, or of the nearest mapping around it."""
        while key and key not in self.positions:
            key = key[:-1]
        return self.positions.get(key, Where(self.file.name, 1, 1))
