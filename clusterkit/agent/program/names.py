"""L5. A name server in a node's network: it answers wrongly, late or not at all, as rules say, or asks on.

Source: RFC 1035 (messages, and their length before them over TCP), RFC 2308 (answers without records).
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

PORT = 53
MARK = 0x636B
"""On what asks past this server: rules let it through."""

ADDRESS, NO_ERROR, SERVER_FAILED, NO_SUCH_NAME = 1, 0, 2, 3
"""A type of record (A), and codes of answers."""

_SIX, _INTERNET = 28, 1
_CODES = {"nxdomain": NO_SUCH_NAME, "servfail": SERVER_FAILED}
_SO_MARK = 36
_ASK_SECONDS = 3.0
_IDLE_SECONDS = 30.0
_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _RECURSED = 0x8000, 0x0080
_KEPT = 0x7900
"""Of a question's flags, what its answer repeats: the operation and "recursion desired"."""

_LONGEST = 65535


@dataclass(frozen=True)
class Rule:
    """`names`: globs, none is every name; `how`: "silent", "slow", "wrong", "nxdomain" or "servfail"."""

    names: tuple[str, ...]
    how: str
    delay_s: float = 0.0
    address: str = ""

    def hits(self, name: str) -> bool:
        return not self.names or any(fnmatch.fnmatchcase(name, glob.lower()) for glob in self.names)


@dataclass(frozen=True)
class Question:
    """`name` in lower case and without its last dot; `end` is where the question ends in the message."""

    name: str
    kind: int
    end: int


def question(message: bytes) -> Question:
    """The first question of a message. Raises: ValueError."""
    labels, at = [], _HEADER.size
    try:
        while length := message[at]:
            if length > 63:
                raise ValueError("a question with a pointer")
            labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
        (kind,) = struct.unpack_from(">H", message, at + 1)
    except (IndexError, struct.error) as error:
        raise ValueError("not a whole question") from error
    return Question(".".join(labels).lower(), kind, at + 5)


def query(number: int, name: str, kind: int = ADDRESS) -> bytes:
    """A question that wants recursion."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return _HEADER.pack(number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, _INTERNET)


def answer(message: bytes, code: int, address: str = "") -> bytes:
    """What is said to a question: a code, and an address where one is given."""
    asked = question(message)
    number, flags, *_ = _HEADER.unpack_from(message)
    flags = _RESPONSE | flags & _KEPT | _RECURSED | code
    record = b""
    if address:
        record = b"\xc0\x0c" + struct.pack(">HHIH", ADDRESS, _INTERNET, 0, 4) + socket.inet_aton(address)
    head = _HEADER.pack(number, flags, 1, 1 if address else 0, 0, 0)
    return head + message[_HEADER.size : asked.end] + record


def code(message: bytes) -> int:
    """Raises: ValueError for what is no answer."""
    if len(message) < _HEADER.size or not message[2] & 0x80:
        raise ValueError("not an answer")
    return message[3] & 0x0F


def addresses(message: bytes) -> list[str]:
    """Of all records of type A in an answer. Raises: ValueError."""
    at, found = question(message).end, []
    try:
        for _ in range(_HEADER.unpack_from(message)[3]):
            while message[at] and message[at] < 0xC0:
                at += 1 + message[at]
            at += 2 if message[at] else 1
            kind, _, _, length = struct.unpack_from(">HHIH", message, at)
            at += 10
            if kind == ADDRESS:
                found.append(socket.inet_ntoa(message[at : at + length]))
            at += length
    except (IndexError, struct.error, OSError) as error:
        raise ValueError("not a whole answer") from error
    return found


def resolvers(text: str) -> list[str]:
    """The IPv4 addresses that a resolv.conf(5) names."""
    words = [line.split() for line in text.splitlines()]
    named = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [address for address in named if _is_ipv4(address)]


def said_by(rules: Sequence[Rule], message: bytes, ask: Callable[[bytes], bytes | None]) -> bytes | None:
    """The answer by the first rule that hits, None for silence; `ask` asks the true resolver. Raises: ValueError."""
    asked = question(message)
    rule = next((rule for rule in rules if rule.hits(asked.name)), None)
    if rule is not None:
        if rule.how == "silent":
            return None
        if rule.how in _CODES:
            return answer(message, _CODES[rule.how])
        if rule.how == "wrong" and asked.kind in (ADDRESS, _SIX):
            return answer(message, NO_ERROR, rule.address if asked.kind == ADDRESS else "")
        time.sleep(rule.delay_s)
    return ask(message)


class NameServer:
    """Serves on free loopback ports of the network namespace in which it is made; all its threads stay there.

    `resolvers` are asked in turn for what no rule hits. Both may be set at any time.
    """

    def __init__(self) -> None:
        self.rules: tuple[Rule, ...] = ()
        self.resolvers: tuple[str, ...] = ()
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", 0))
        self._connections = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.udp_port: int = self._datagrams.getsockname()[1]
        self.tcp_port: int = self._connections.getsockname()[1]
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answers no more; questions in hand are left without an answer."""
        os.close(self._wake)
        self._thread.join()

    def _serve(self) -> None:
        with self._datagrams, self._connections:
            while True:
                sources: list[Any] = [self._datagrams, self._connections, self._woken]
                ready, _, _ = select.select(sources, [], [])
                if self._woken in ready:
                    os.close(self._woken)
                    return
                if self._datagrams in ready:
                    message, sender = self._datagrams.recvfrom(_LONGEST)
                    threading.Thread(target=self._datagram, args=(message, sender), daemon=True).start()
                if self._connections in ready:
                    connection, _ = self._connections.accept()
                    threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _datagram(self, message: bytes, sender: tuple[str, int]) -> None:
        with contextlib.suppress(ValueError, OSError):  # no question; or the asker or this server is gone
            said = said_by(self.rules, message, self._ask)
            if said is not None:
                self._datagrams.sendto(said, sender)

    def _connection(self, connection: socket.socket) -> None:
        """One question after the other. One that gets no answer leaves the connection open, and silent."""
        connection.settimeout(_IDLE_SECONDS)
        with connection, contextlib.suppress(ValueError, OSError), connection.makefile("rb") as lines:
            while message := _framed(lines.read):
                said = said_by(self.rules, message, self._ask_by_tcp)
                if said is not None:
                    connection.sendall(struct.pack(">H", len(said)) + said)

    def _ask(self, message: bytes) -> bytes | None:
        for address in self.resolvers:
            with contextlib.suppress(OSError), marked(socket.SOCK_DGRAM) as made:
                made.settimeout(_ASK_SECONDS)
                made.connect((address, PORT))
                made.send(message)
                return made.recv(_LONGEST)
        return None

    def _ask_by_tcp(self, message: bytes) -> bytes | None:
        for address in self.resolvers:
            with contextlib.suppress(OSError), marked(socket.SOCK_STREAM) as made:
                made.settimeout(_ASK_SECONDS)
                made.connect((address, PORT))
                made.sendall(struct.pack(">H", len(message)) + message)
                with made.makefile("rb") as lines:
                    if said := _framed(lines.read):
                        return said
        return None


def marked(kind: int) -> socket.socket:
    """A socket whose packets go past this server."""
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, _SO_MARK, MARK)
    return made


def _framed(read: Callable[[int], bytes]) -> bytes:
    """A message with its length before it; b"" at the end."""
    head = read(2)
    return read(int.from_bytes(head, "big")) if len(head) == 2 else b""


def _is_ipv4(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, text)
    except OSError:
        return False
    return True
