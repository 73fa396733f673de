"""L3. One HTTP request to one node, bounded as a whole; on the standard library, so that a condition loads nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clusterkit.client import NotSent
from clusterkit.clock import Deadline

if TYPE_CHECKING:
    import http.client

MOST_BYTES = 4 * 2**20
"""What is read of an answer: enough for every status page, and no broken server fills our memory."""


@dataclass(frozen=True)
class Answer:
    """Status and body of a response."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace").strip()

    def json(self) -> Any:
        """Raises: ValueError when the body is not JSON."""
        return json.loads(self.body)


class HttpConnection:
    """A kept connection to one port of a node. Not for use from several threads at once.

    Every request, its connecting included, ends within `timeout` seconds, or by the deadline that it is given. Raises:
    NotSent where it could not connect or no time was left, OSError (also for what is not HTTP).
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        import http.client

        self._timeout = timeout
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Answer:
        """`content` is sent as JSON, bytes as they are. `deadline`: of several requests together.

        The connection is closed after any trouble, so that the next request is whole.
        """
        import http.client

        deadline = deadline or Deadline(self._timeout)
        body = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        kind = {} if body is None or body is content else {"Content-Type": "application/json"}
        try:
            if self._connection.sock is None:
                self._connect(deadline)
            if deadline.is_over:
                raise NotSent("no time was left to send it")
            self._wait_at_most(deadline)
            self._connection.request(method, path, body=body, headers={**kind, **(headers or {})})
            self._wait_at_most(deadline)
            # read1 does not close it at its end, and the connection would take it for unread. After
            # `Connection: close` it is also the only one that holds the socket.
            with self._connection.getresponse() as response:
                return Answer(response.status, self._read(response, deadline))
        except http.client.HTTPException as error:
            self.close()
            raise ConnectionError(f"the answer to {method} {path} was not HTTP: {type(error).__name__}") from error
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def _connect(self, deadline: Deadline) -> None:
        if deadline.is_over:  # 0 would mean: do not wait at all
            raise NotSent("no time was left to connect")
        self._connection.timeout = deadline.left
        try:
            self._connection.connect()
        except ConnectionRefusedError:  # it says by itself that nothing was sent
            raise
        except OSError as error:
            raise NotSent(*error.args) from error

    def _read(self, response: http.client.HTTPResponse, deadline: Deadline) -> bytes:
        """The body in parts, because a server that drips would keep a single read alive for ever."""
        parts: list[bytes] = []
        while sum(map(len, parts)) < MOST_BYTES:
            self._wait_at_most(deadline)
            part = response.read1(65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
        self.close()
        return b"".join(parts)

    def _wait_at_most(self, deadline: Deadline) -> None:
        if deadline.is_over:
            raise TimeoutError("timed out")
        # After `Connection: close` the response alone holds the socket, with the time limit it had.
        if self._connection.sock is not None:
            self._connection.sock.settimeout(deadline.left)


def get(host: str, port: int, path: str, timeout: float) -> Answer:
    """One GET on a connection of its own. Raises: OSError."""
    connection = HttpConnection(host, port, timeout)
    try:
        return connection.request("GET", path, headers={"Connection": "close"})
    finally:
        connection.close()
