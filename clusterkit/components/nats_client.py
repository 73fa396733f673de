"""L3. A client of one NATS server: its text protocol over a socket, and requests to JetStream in JSON.

Source: NATS' documentation, "NATS Client Protocol" and "JetStream wire API Reference".
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.clock import Deadline
from clusterkit.components.base import Group, Member, Running
from clusterkit.components.streams import Stream

USER = "clusterkit"
NO_RESPONDERS = "503"
NO_MESSAGES = "404"
STREAM_NOT_FOUND = 10059
MESSAGE_NOT_FOUND = 10037
WRONG_SEQUENCE = 10071

LATEST, EACH, ONCE = "clusterkit-latest", "clusterkit-each", "clusterkit-once"
"""Our streams: the last message of each subject is kept; every message; each until somebody has acknowledged it."""

_COPIES = 3
"""NATS' advice: three, also in a larger cluster."""

_CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    LATEST: {"max_msgs_per_subject": 1},
    EACH: {},
    ONCE: {"retention": "workqueue"},
}


class ApiError(ClientError):
    """What JetStream answered to a request: its own words, and the number of the error (err_code)."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said)
        self.number = number


@dataclass(frozen=True)
class Message:
    """An answer. `number`: of our request; `status`: of a message of the server's own ("503"), "" else; `reply`: where
    to answer.
    """

    number: int
    data: bytes
    headers: Mapping[str, str]
    status: str = ""
    reply: str = ""


class NatsConnection:
    """One connection, logged in. Not for use from several threads at once.

    Every request ends within `timeout` seconds. Raises: OSError, ClientError with the server's own words. What is
    raised while connecting is raised before anything was asked.
    """

    def __init__(self, host: str, port: int, timeout: float, user: str = "", password: str = "") -> None:
        self._timeout = timeout
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self._count = 0
        deadline = Deadline(timeout)
        self._stream = Stream(host, port, deadline)
        try:
            self._line(deadline)  # INFO
            about: dict[str, Any] = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
            if user:
                about |= {"user": user, "pass": password}
            self._stream.send(b"CONNECT %b\r\nPING\r\n" % _json(about), deadline)
            while self._line(deadline) != b"PONG":
                pass
        except (OSError, ClientError):
            self.close()
            raise

    def request(
        self,
        subject: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Message:
        """Sends a message, and waits for its one answer."""
        return next(self.requests([(subject, data)], headers, deadline))

    def requests(
        self,
        asked: Sequence[tuple[str, bytes]],
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Iterator[Message]:
        """The same of several, sent at once: their answers in order."""
        deadline = deadline or Deadline(self._timeout)
        numbers = range(self._count + 1, self._count + 1 + len(asked))
        self._count += len(asked)
        # A subscription for each: a message that a consumer gets comes with its own subject, not that of our inbox.
        sent = b"".join(
            f"SUB {self._inbox}.{number} {number}\r\nUNSUB {number} 1\r\n".encode()
            + _published(subject, f"{self._inbox}.{number}", data, headers or {})
            for number, (subject, data) in zip(numbers, asked, strict=True)
        )
        self._stream.send(sent, deadline)
        early: dict[int, Message] = {}
        for number in numbers:
            while number not in early:
                message = self._message(deadline)
                early[message.number] = message  # also the late answer to a request that was given up
            yield early.pop(number)

    def api(self, name: str, content: Mapping[str, Any] | None = None, deadline: Deadline | None = None) -> Any:
        """A request to JetStream: STREAM.INFO.orders. Raises: ApiError."""
        answer = self.request(f"$JS.API.{name}", b"" if content is None else _json(content), deadline=deadline)
        return checked(answer)

    def publish(self, subject: str, data: bytes, expected: int | None = None, deadline: Deadline | None = None) -> int:
        """Returns the sequence number, after a majority of the stream's servers has the message.

        `expected`: only if the last message of this subject has that number (0: there is none). Raises: ApiError.
        """
        headers = {} if expected is None else {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        return int(checked(self.request(subject, data, headers, deadline))["seq"])

    def last(
        self, stream: str, subject: str, deadline: Deadline | None = None, *, direct: bool = False
    ) -> tuple[bytes, int] | None:
        """The last message of a subject and its number, None where there is none.

        The stream's leader is asked, and does not ask a majority. `direct`: any server that has a copy, the one that we
        are connected to if it has. Raises: ApiError.
        """
        if direct:
            answer = self.request(f"$JS.API.DIRECT.GET.{stream}", _json({"last_by_subj": subject}), deadline=deadline)
            if answer.status == NO_MESSAGES:
                return None
            _refuse_status(answer)
            return answer.data, int(answer.headers["nats-sequence"])
        try:
            found = self.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, deadline)["message"]
        except ApiError as error:
            if error.number == MESSAGE_NOT_FOUND:
                return None
            raise
        return base64.b64decode(found.get("data", "")), int(found["seq"])

    def delete_last(self, stream: str, subject: str, deadline: Deadline) -> None:
        """Not by a purge of the subject: after all servers of 2.9.10 were killed, that took messages of others too."""
        found = self.last(stream, subject, deadline)
        if found is not None:
            self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": found[1]}, deadline)

    def close(self) -> None:
        self._stream.close()

    # -- the protocol ------------------------------------------------------------------------------------------------

    def _message(self, deadline: Deadline) -> Message:
        while True:
            words = self._line(deadline).split()
            if words[:1] == [b"PING"]:
                self._stream.send(b"PONG\r\n", deadline)
            elif words[:1] == [b"MSG"]:
                reply, size = (words[3] if len(words) > 4 else b""), int(words[-1])
                return Message(int(words[2]), self._stream.exactly(size + 2, deadline)[:-2], {}, "", reply.decode())
            elif words[:1] == [b"HMSG"]:
                reply, head, size = (words[3] if len(words) > 5 else b""), int(words[-2]), int(words[-1])
                content = self._stream.exactly(size + 2, deadline)[:-2]
                status, headers = _headers(content[:head])
                return Message(int(words[2]), content[head:], headers, status, reply.decode())

    def _line(self, deadline: Deadline) -> bytes:
        line = self._stream.line(deadline)
        if line.startswith(b"-ERR"):
            raise ClientError(line[4:].decode(errors="replace").strip(" '"))
        return line


class NatsClient:
    """Pinned to one server, which asks the stream's leader for us."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection, self._timeout = connect(running, member), running.timeout
        self._copies = copies(running.group)

    def write(self, key: str, value: str) -> None:
        deadline = Deadline(self._timeout)
        with_stream(self._connection, LATEST, self._copies, deadline)
        self._connection.publish(subject(LATEST, key), value.encode(), deadline=deadline)

    def read(self, key: str) -> str | None:
        found = self._connection.last(LATEST, subject(LATEST, key))
        return found[0].decode() if found else None

    def delete(self, key: str) -> None:
        self._connection.delete_last(LATEST, subject(LATEST, key), Deadline(self._timeout))

    def close(self) -> None:
        self._connection.close()


def connect(running: Running, member: Member) -> NatsConnection:
    """A connection to a member, logged in. Raises: OSError, ClientError."""
    host, port = running.dial(member, "client")
    password = running.group.secrets["password"] if running.group.options.password else ""
    return NatsConnection(host, port, running.timeout, USER if password else "", password)


@contextlib.contextmanager
def connected(running: Running, member: Member) -> Iterator[NatsConnection]:
    connection = connect(running, member)
    try:
        yield connection
    finally:
        connection.close()


def copies(group: Group) -> int:
    """How many servers have each message of our streams."""
    return min(_COPIES, len(group.members))


def subject(stream: str, key: str) -> str:
    """Where the messages of a key go. A key may have what no subject may: dots, stars, spaces."""
    safe = "".join(
        letter if (letter.isascii() and letter.isalnum()) or letter in "-_/" else f"={ord(letter):x}=" for letter in key
    )
    return f"{stream}.{safe}"


def with_stream(connection: NatsConnection, stream: str, copied: int, deadline: Deadline) -> None:
    """Makes one of our streams where it is not. Raises: OSError, ApiError."""
    try:
        connection.api(f"STREAM.INFO.{stream}", deadline=deadline)
    except ApiError as error:
        if error.number != STREAM_NOT_FOUND:
            raise
        configuration = {
            "name": stream,
            "subjects": [f"{stream}.>"],
            "num_replicas": copied,
            "storage": "file",
            "allow_direct": True,
            **_CONFIGURATIONS[stream],
        }
        connection.api(f"STREAM.CREATE.{stream}", configuration, deadline)


def checked(answer: Message) -> Any:
    """What stands in an answer of JetStream's. Raises: Refused where nobody was there to take it, ApiError."""
    _refuse_status(answer)
    said = json.loads(answer.data)
    if "error" in said:
        error = said["error"]
        raise ApiError(int(error.get("err_code", 0)), str(error.get("description", error.get("code"))))
    return said


def _refuse_status(answer: Message) -> None:
    if answer.status == NO_RESPONDERS:
        raise Refused("nobody is there to answer: no responders")
    if answer.status:
        raise ClientError(f"status {answer.status} {answer.headers.get('description', '')}".strip())


def not_sent(error: Exception) -> NotSent:
    """What failed before anything was asked."""
    return NotSent(f"it could not be read before it is written: {error}")


def _published(subject: str, reply: str, data: bytes, headers: Mapping[str, str]) -> bytes:
    if not headers:
        return f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n"
    head = "NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    return f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n{head}".encode() + data + b"\r\n"


def _headers(head: bytes) -> tuple[str, dict[str, str]]:
    """The status of the first line ("NATS/1.0 503"), and the headers by their names in small letters."""
    first, *lines = head.decode(errors="replace").splitlines()
    words = first.split(maxsplit=2)[1:]
    found = {
        name.strip().lower(): value.strip() for name, sign, value in (line.partition(":") for line in lines) if sign
    }
    return (words[0] if words else ""), found | ({"description": words[1]} if len(words) > 1 else {})


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()
