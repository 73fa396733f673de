"""L3. Sockets whose every read and write ends with a deadline, however slowly bytes come."""

from __future__ import annotations

import io
import socket
from typing import Any

from clusterkit.clock import Deadline

_LEAST_SECONDS = 0.001
"""A time limit of 0 would mean: do not wait at all, and is told by another error."""


class BoundedSocket(socket.socket):
    """`deadline` is the end of all that is done with it, whatever a library sets that it was given to."""

    deadline: Deadline

    def settimeout(self, _value: float | None) -> None:
        super().settimeout(max(self.deadline.left, _LEAST_SECONDS))

    def recv(self, *arguments: Any) -> bytes:
        self._go_on()
        return super().recv(*arguments)

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self._go_on()
        return super().recv_into(*arguments, **named)

    def sendall(self, *arguments: Any) -> None:
        self._go_on()
        super().sendall(*arguments)

    def _go_on(self) -> None:
        if self.deadline.is_over:
            raise TimeoutError("timed out")
        self.settimeout(None)


def connect_by(deadline: Deadline, host: str, port: int) -> BoundedSocket:
    """A connection, with that deadline until it is given another one. Raises: OSError."""
    plain = socket.create_connection((host, port), timeout=max(deadline.left, _LEAST_SECONDS))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made = BoundedSocket(fileno=plain.detach())
    made.deadline = deadline
    return made


class Stream:
    """A connection that is read by lines or by lengths. Not for use from several threads at once.

    Every call ends by its deadline. Raises: OSError.
    """

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        self._socket = connect_by(deadline, host, port)
        self._received = b""

    def send(self, content: bytes, deadline: Deadline) -> None:
        self._socket.deadline = deadline
        self._socket.sendall(content)

    def line(self, deadline: Deadline) -> bytes:
        """Up to the next CR LF, and without it."""
        while b"\r\n" not in self._received:
            self._receive(deadline)
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    def exactly(self, length: int, deadline: Deadline) -> bytes:
        while len(self._received) < length:
            self._receive(deadline)
        content, self._received = self._received[:length], self._received[length:]
        return content

    def close(self) -> None:
        self._socket.close()

    def _receive(self, deadline: Deadline) -> None:
        self._socket.deadline = deadline
        part = self._socket.recv(io.DEFAULT_BUFFER_SIZE)
        if not part:
            raise ConnectionError("the connection was closed")
        self._received += part
