"""L2. One machine, VM or container, and what can be asked of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


class Ability(enum.Enum):
    """What a provider or an engine can do beyond the least; what it lacks is refused before `up`."""

    PUBLISH = "publish ports on loopback"
    PAUSE = "pause a node"
    LOOP = "keep a node's data on a disk image of its own"
    LIMITS = "limit cpu and memory"
    BUILD = "build images"


class State(enum.Enum):
    """The life of a node, whatever runs it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True)
class Command:
    """A program to run on a node: `argv`, bytes for its stdin, seconds it may take."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    timeout: float = 30.0


@dataclass(frozen=True)
class Result:
    """How a command ended. A nonzero `code` is a result, not an error."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True)
class File:
    """A file to put on a node. `owner` is a user's name in the node ("" is root); `mode` as in chmod."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = ""


@runtime_checkable
class Node(Protocol):
    """One machine. Methods raise NodeUnreachable when the node cannot be reached at all."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    def run(self, command: Command) -> Result: ...

    def put(self, files: Sequence[File]) -> None: ...

    def read(self, path: str) -> bytes:
        """Raises: FileNotFoundError."""
        ...

    def dial(self, port: int) -> tuple[str, int]:
        """Where a client on this machine connects to reach `port` of the node: the one seam for all clients."""
        ...


class Service(Protocol):
    """What can be done to the one service of a node. The main process is the service; data stays."""

    def start(self) -> None: ...

    def stop(self, grace: float = 10.0) -> None: ...

    def kill(self, signal: str = "KILL") -> None: ...

    def pause(self) -> None: ...

    def unpause(self) -> None: ...

    def state(self) -> State: ...
