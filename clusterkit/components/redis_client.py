"""L3. A client of one Redis or Sentinel server: its protocol (RESP 2) over a socket, no other package needed.

Source: the Redis serialization protocol specification, version 2.
"""

from __future__ import annotations

from typing import Protocol

from clusterkit.client import ClientError
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.streams import Stream

Reply = str | int | None | list["Reply"]


class RespConnection:
    """One connection. Not for use from several threads at once.

    Every command ends within `timeout` seconds. Raises: OSError, or ClientError with the server's own words; both when
    connecting, which logs in where there is a password.
    """

    def __init__(self, host: str, port: int, timeout: float, password: str = "") -> None:
        self._timeout = timeout
        self._stream = Stream(host, port, Deadline(timeout))
        if password:
            try:
                self.ask("AUTH", "default", password)
            except (OSError, ClientError):
                self.close()
                raise

    def ask(self, *words: str | int, deadline: Deadline | None = None) -> Reply:
        """A list that holds an error raises it too: nothing here sends transactions."""
        deadline = deadline or Deadline(self._timeout)
        parts = [str(word).encode() for word in words]
        sent = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        self._stream.send(sent, deadline)
        return self._reply(deadline)

    def close(self) -> None:
        self._stream.close()

    def _reply(self, deadline: Deadline) -> Reply:
        line = self._stream.line(deadline)
        kind, rest = line[:1], line[1:].decode(errors="replace")
        if kind == b"-":
            raise ClientError(rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self._stream.exactly(int(rest) + 2, deadline)[:-2].decode(errors="replace")
        if kind == b"*":
            return None if rest == "-1" else [self._reply(deadline) for _ in range(int(rest))]
        raise ConnectionError(f"the answer was not RESP: {line[:40]!r}")


class Asks(Protocol):
    """Whatever takes a command and gives its reply."""

    def ask(self, *words: str | int) -> Reply: ...

    def close(self) -> None: ...


class RedisClient:
    """Pinned to one member: a replica refuses its writes, and serves what it has copied so far."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection: Asks = connect(running, member)

    def write(self, key: str, value: str) -> None:
        """Acknowledged by this node alone, as Redis does: its replicas copy it later."""
        self._connection.ask("SET", key, value)

    def read(self, key: str) -> str | None:
        value = self._connection.ask("GET", key)
        return None if value is None else str(value)

    def delete(self, key: str) -> None:
        self._connection.ask("DEL", key)

    def close(self) -> None:
        self._connection.close()


def connect(running: Running, member: Member) -> RespConnection:
    """A connection to a member of a `redis` or `redis-sentinel`, logged in. Raises: OSError, ClientError."""
    host, port = running.dial(member, "client")
    # A server without a password takes any, when one logs in by name.
    return RespConnection(host, port, running.timeout, running.group.secrets["password"])


def ask(running: Running, member: Member, *words: str | int) -> Reply:
    """One command over a connection of its own. Raises: OSError, ClientError."""
    connection = connect(running, member)
    try:
        return connection.ask(*words)
    finally:
        connection.close()
