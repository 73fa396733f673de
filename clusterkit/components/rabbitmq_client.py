"""L3. A client of one RabbitMQ server: as much of AMQP 0-9-1 as queues need, over a socket, and the management API.

Source: AMQP 0-9-1 (its specification in XML, with RabbitMQ's errata), and RabbitMQ's "Consumer Acknowledgements and
Publisher Confirms". A client of our own, since each call is to end in time as a whole.
"""

from __future__ import annotations

import base64
import contextlib
import struct
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterkit.client import ClientError, Refused
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.http_client import Answer, HttpConnection
from clusterkit.components.streams import Stream

USER = "clusterkit"
PREFIX = "clusterkit."
"""What the names of our own queues begin with."""

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_MOST_BYTES = 131072
_GOOD_BYE_SECONDS = 0.5

_START, _START_OK, _TUNE, _TUNE_OK, _OPEN, _OPEN_OK = (10, 10), (10, 11), (10, 30), (10, 31), (10, 40), (10, 41)
_CLOSE, _CLOSE_OK = (10, 50), (10, 51)
_CHANNEL_OPEN, _CHANNEL_OPEN_OK, _CHANNEL_CLOSE = (20, 10), (20, 11), (20, 40)
_DECLARE, _DECLARE_OK, _DELETE, _DELETE_OK = (50, 10), (50, 11), (50, 40), (50, 41)
_PUBLISH, _RETURN, _GET, _GET_OK, _GET_EMPTY = (60, 40), (60, 50), (60, 70), (60, 71), (60, 72)
_ACK, _NACK = (60, 80), (60, 120)
_CONFIRM, _CONFIRM_OK = (85, 10), (85, 11)

_PASSIVE, _DURABLE, _MANDATORY = 1, 2, 1

QUORUM: Mapping[str, str | int] = {"x-queue-type": "quorum"}

Method = tuple[int, int]
"""Class and number of a method."""


class AmqpError(ClientError):
    """Why the server closed the channel or the connection: its code and its own words."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"{code} {said}")
        self.code = code


@dataclass(frozen=True)
class Message:
    """A message that a queue gave; it comes back to the queue unless it is acknowledged. `tag`: by which."""

    tag: int
    body: bytes


class AmqpConnection:
    """One connection with one channel, whose messages are confirmed. Not for use from several threads at once.

    Every call ends within `timeout` seconds. Raises: OSError, AmqpError. What is raised while connecting is raised
    before anything was asked; after any trouble the connection is good for nothing but `close`.
    """

    def __init__(self, host: str, port: int, timeout: float, user: str, password: str) -> None:
        self._timeout, self._is_well = timeout, False
        self._published = 0
        deadline = Deadline(timeout)
        self._stream = Stream(host, port, deadline)
        try:
            self._send(deadline, b"AMQP\x00\x00\x09\x01")
            self._expect(deadline, _START)
            able = {"authentication_failure_close": True, "basic.nack": True, "publisher_confirms": True}
            login = _long(f"\0{user}\0{password}".encode())
            start = _table({"product": "clusterkit", "capabilities": able}) + _short("PLAIN") + login + _short("en_US")
            self._send(deadline, _method(0, _START_OK, start))
            self._expect(deadline, _TUNE)
            tune = struct.pack(">HIH", 1, _MOST_BYTES, 0)  # one channel, no heartbeats: every call has its own end
            self._send(deadline, _method(0, _TUNE_OK, tune) + _method(0, _OPEN, _short("/") + _short("") + b"\0"))
            self._expect(deadline, _OPEN_OK)
            self._ask(deadline, _CHANNEL_OPEN, _short(""), _CHANNEL_OPEN_OK)
            self._ask(deadline, _CONFIRM, b"\0", _CONFIRM_OK)
        except (OSError, ClientError):
            self._stream.close()
            raise
        self._is_well = True

    def declare(self, queue: str, arguments: Mapping[str, str | int], *, is_known: bool = False) -> int:
        """Makes a durable queue where there is none; how many messages wait in it. `is_known`: it must be there."""
        flags = _DURABLE | (_PASSIVE if is_known else 0)
        asked = b"\0\0" + _short(queue) + bytes([flags]) + _table(arguments)
        with self._call() as deadline:
            answer = self._ask(deadline, _DECLARE, asked, _DECLARE_OK)
        (count,) = struct.unpack_from(">I", answer, 1 + answer[0])
        return int(count)

    def delete(self, queue: str) -> None:
        """To no harm where there is none."""
        with self._call() as deadline:
            self._ask(deadline, _DELETE, b"\0\0" + _short(queue) + b"\0", _DELETE_OK)

    def publish(self, queue: str, body: bytes) -> None:
        """Returns when the message is confirmed: a majority of the servers of a quorum queue has it on disk.

        Raises: Refused where there is no such queue; ClientError where it was answered by a nack, after which nobody
        knows; what every call raises.
        """
        head = struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 2)  # delivery mode 2: to be kept on disk
        address = b"\0\0" + _short("") + _short(queue) + bytes([_MANDATORY])
        sent = _method(1, _PUBLISH, address) + _frame(_HEADER, 1, head) + (_frame(_BODY, 1, body) if body else b"")
        self._published += 1
        with self._call() as deadline:
            self._send(deadline, sent)
            method, said = self._next(deadline, _ACK, _NACK, _RETURN)
            if method == _RETURN:
                (code,) = struct.unpack_from(">H", said)
                self._content(deadline)
                self._expect(deadline, _ACK)
                text = said[3 : 3 + said[2]].decode(errors="replace")
        if method == _RETURN:
            raise Refused(f"{code} {text}")
        if method == _NACK:
            raise ClientError("the message was not confirmed: nack")
        if struct.unpack_from(">Q", said)[0] != self._published:
            raise ClientError("another message was confirmed")

    def get(self, queue: str) -> Message | None:
        """The next message, or None where the queue is empty."""
        with self._call() as deadline:
            self._send(deadline, _method(1, _GET, b"\0\0" + _short(queue) + b"\0"))
            method, said = self._next(deadline, _GET_OK, _GET_EMPTY)
            if method == _GET_EMPTY:
                return None
            (tag,) = struct.unpack_from(">Q", said)
            return Message(tag, self._content(deadline))

    def acknowledge(self, message: Message) -> None:
        """It leaves its queue. AMQP has no answer to that; a later call on this channel is answered after it."""
        with self._call() as deadline:
            self._send(deadline, _method(1, _ACK, struct.pack(">QB", message.tag, 0)))

    def give_back(self, message: Message) -> None:
        """It goes to the place in the queue where it was."""
        with self._call() as deadline:
            self._send(deadline, _method(1, _NACK, struct.pack(">QB", message.tag, 2)))

    def close(self) -> None:
        """With a good-bye where all is well, so that the server has given back what was not acknowledged."""
        if self._is_well:
            deadline = Deadline(min(self._timeout, _GOOD_BYE_SECONDS))
            with contextlib.suppress(OSError, ClientError):
                self._send(deadline, _method(0, _CLOSE, struct.pack(">H", 200) + _short("") + b"\0\0\0\0"))
                self._next(deadline, _CLOSE_OK)
        self._stream.close()

    # -- the protocol ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _call(self) -> Iterator[Deadline]:
        self._is_well = False
        yield Deadline(self._timeout)
        self._is_well = True

    def _ask(self, deadline: Deadline, method: Method, arguments: bytes, answer: Method) -> bytes:
        self._send(deadline, _method(1, method, arguments))
        return self._expect(deadline, answer)

    def _expect(self, deadline: Deadline, method: Method) -> bytes:
        return self._next(deadline, method)[1]

    def _next(self, deadline: Deadline, *expected: Method) -> tuple[Method, bytes]:
        """The next method that is one of these, and its arguments. Others (a flow, a blocked) tell nothing that we
        need. Raises: AmqpError where the server closes the channel or the connection instead.
        """
        while True:
            kind, payload = self._read_frame(deadline)
            if kind != _METHOD:
                continue
            number, name = struct.unpack_from(">HH", payload)
            method, arguments = (number, name), payload[4:]
            if method in expected:
                return method, arguments
            if method in (_CLOSE, _CHANNEL_CLOSE):
                (code,) = struct.unpack_from(">H", arguments)
                raise AmqpError(code, arguments[3 : 3 + arguments[2]].decode(errors="replace"))

    def _content(self, deadline: Deadline) -> bytes:
        """The body that follows a method: its header says how long it is."""
        kind, header = self._read_frame(deadline)
        if kind != _HEADER:
            raise ConnectionError("a message came without its header")
        (size,) = struct.unpack_from(">Q", header, 4)
        body = b""
        while len(body) < size:
            body += self._read_frame(deadline)[1]
        return body

    def _read_frame(self, deadline: Deadline) -> tuple[int, bytes]:
        head = self._stream.exactly(7, deadline)
        if head.startswith(b"AMQP"):
            raise ConnectionError("the server speaks another version of AMQP")
        kind, _, size = struct.unpack(">BHI", head)
        if size > _MOST_BYTES:
            raise ConnectionError("the answer is not AMQP")
        return kind, self._stream.exactly(size + 1, deadline)[:-1]

    def _send(self, deadline: Deadline, content: bytes) -> None:
        self._stream.send(content, deadline)


class RabbitmqClient:
    """Pinned to one server. A key is a quorum queue that keeps its last message alone."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection = connect(running, member)

    def write(self, key: str, value: str) -> None:
        self._connection.declare(PREFIX + key, {**QUORUM, "x-max-length": 1})
        self._connection.publish(PREFIX + key, value.encode())

    def read(self, key: str) -> str | None:
        try:
            message = self._connection.get(PREFIX + key)
        except AmqpError as error:
            if error.code == 404 and "no queue" in str(error):
                return None
            raise
        if message is None:
            return None
        self._connection.give_back(message)
        return message.body.decode()

    def delete(self, key: str) -> None:
        self._connection.delete(PREFIX + key)

    def close(self) -> None:
        self._connection.close()


def connect(running: Running, member: Member) -> AmqpConnection:
    """A connection to a member, logged in. Raises: OSError, ClientError."""
    host, port = running.dial(member, "client")
    return AmqpConnection(host, port, running.timeout, USER, running.group.secrets["password"])


def manage(running: Running, member: Member, method: str, path: str, content: Any = None) -> Answer:
    """One request to the management API of a member. Raises: OSError; ClientError for a status that is none of
    success.
    """
    login = base64.b64encode(f"{USER}:{running.group.secrets['password']}".encode()).decode()
    connection = HttpConnection(*running.dial(member, "management"), running.timeout)
    try:
        answer = connection.request(method, path, content, {"Authorization": f"Basic {login}", "Connection": "close"})
    finally:
        connection.close()
    if answer.status // 100 != 2:
        raise ClientError(f"{method} {urllib.parse.urlsplit(path).path}: status {answer.status}")
    return answer


def _method(channel: int, method: Method, arguments: bytes) -> bytes:
    return _frame(_METHOD, channel, struct.pack(">HH", *method) + arguments)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    content = text.encode()
    return bytes([len(content)]) + content


def _long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _table(content: Mapping[str, Any]) -> bytes:
    return _long(b"".join(_short(key) + _value(value) for key, value in content.items()))


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"t" + bytes([value])
    if isinstance(value, int):
        return b"l" + struct.pack(">q", value)
    if isinstance(value, str):
        return b"S" + _long(value.encode())
    return b"F" + _table(value)
