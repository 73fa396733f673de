"""L2. Fakes for authors of components and faults: shipped, so that they can test without an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clusterkit.client import ClientError
from clusterkit.errors import NodeUnreachable
from clusterkit.node import Command, File, Result


@dataclass
class FakeNode:
    """A node in memory. `answers` maps argv to a Result (or a function that makes one); what was asked is in `ran`."""

    name: str = "fake-1"
    address: str = "192.0.2.11"
    answers: Mapping[tuple[str, ...], Result | Callable[[Command], Result]] = field(default_factory=dict)
    ports: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    is_reachable: bool = True
    files: dict[str, File] = field(default_factory=dict)
    ran: list[Command] = field(default_factory=list)

    def run(self, command: Command) -> Result:
        self._reach()
        self.ran.append(command)
        answer = self.answers.get(command.argv, Result(127, stderr=b"not found"))
        return answer if isinstance(answer, Result) else answer(command)

    def put(self, files: Sequence[File]) -> None:
        self._reach()
        self.files.update({file.path: file for file in files})

    def read(self, path: str) -> bytes:
        self._reach()
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path].content

    def dial(self, port: int) -> tuple[str, int]:
        return self.ports.get(port, (self.address, port))

    def _reach(self) -> None:
        if not self.is_reachable:
            raise NodeUnreachable(f"{self.name} cannot be reached", mend="set is_reachable")


class FakeClient:
    """A client of a dictionary; two clients of one dictionary see one system. `trouble` is raised by every call."""

    def __init__(self, values: dict[str, str], trouble: Exception | None = None) -> None:
        self.values = values
        self.trouble = trouble
        self.is_closed = False

    def write(self, key: str, value: str) -> None:
        self._check()
        self.values[key] = value

    def read(self, key: str) -> str | None:
        self._check()
        return self.values.get(key)

    def delete(self, key: str) -> None:
        self._check()
        self.values.pop(key, None)

    def close(self) -> None:
        self.is_closed = True

    def _check(self) -> None:
        if self.is_closed:
            raise ClientError("the client is closed")
        if self.trouble is not None:
            raise self.trouble
