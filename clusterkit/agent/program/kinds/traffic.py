"""L5. Measures the network between nodes by sending: datagrams one way, and TCP connections.

Sockets are opened in the nodes' own network namespaces, so nothing has to be installed there, and nothing of the
system under test is asked. All ends are in one process: times of one clock are compared, each way by itself.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .. import nodes

T = TypeVar("T")

_NO_CHECKSUM = 11
_HEADER = struct.Struct("!IIQ")
_MAGIC = 0x434B_5452
_End = tuple[str, int]
"""A container's id ("" is the host) and a port (0: any)."""

_TICK = 0.004
"""Seconds. What has to be sent more often goes out several at a time: a busy machine does not wake us in time."""

_FEW = 5

_OUTCOMES = {0: "connected", errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset"}


def datagrams(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sends datagrams along each of `pairs` and tells what arrived.

    `pairs`: [from, to] or [from, to, port], nodes as mappings (an `id` of "" is the host itself; without a port any
    free one is taken); `count` for each; `interval_ms` between two of a pair; `size` in bytes; `wait_s` after the last
    one, cut short when all have come once and `count` is 1 to 5.
    Gives a mapping for each pair: `sent`, `received` (distinct ones), `duplicates`, `reordered` (came after a later
    one), `corrupted` (content changed), `span_s` (from the first that came to the last), `delays_ms` of the whole ones
    (sorted), `trouble` ("" unless it could not be tried). Checksums are off, so that what a link damages is counted.
    """
    pairs = [
        ((spot_id(one), 0), (spot_id(other), int(port[0]) if port else 0), other["address"])
        for one, other, *port in args["pairs"]
    ]
    count, interval = int(args.get("count", 3)), float(args.get("interval_ms", 15)) / 1000
    size, wait = int(args.get("size", 64)), float(args.get("wait_s", 0.15))
    with contextlib.ExitStack() as stack:
        ends: dict[_End, socket.socket | str] = {}
        for end in dict.fromkeys(end for pair in pairs for end in pair[:2]):
            try:
                ends[end] = stack.enter_context(_datagram_socket(*end))
            except OSError as error:
                ends[end] = f"it cannot be tried: {error.strerror or error}"
        sends = [_sends(ends[source], ends[target], address) for source, target, address in pairs]
        readers = [end for end in ends.values() if isinstance(end, socket.socket)]
        return Counted(len(pairs), count, size).exchange(sends, readers, interval, wait)


def _sends(sender: socket.socket | str, receiver: socket.socket | str, address: str) -> Sends:
    if isinstance(sender, str) or isinstance(receiver, str):
        return sender if isinstance(sender, str) else str(receiver)
    to = address, receiver.getsockname()[1]
    return lambda data: sender.sendto(data, to)


Sends = Callable[[bytes], object] | str
"""Sends what it is given along a pair; or why that cannot be tried."""


class Counted:
    """What was sent and what came, `count` of `size` bytes for each pair. All but their heads is the same in all."""

    def __init__(self, pairs: int, count: int, size: int) -> None:
        none = {"sent": 0, "received": 0, "duplicates": 0, "reordered": 0, "corrupted": 0, "span_s": 0.0, "trouble": ""}
        self.found: list[dict[str, Any]] = [{**none, "delays_ms": []} for _ in range(pairs)]
        self._first: list[int | None] = [None] * pairs
        self._count = count
        self._body = (bytes(range(256)) * (size // 256 + 1))[: max(0, size - _HEADER.size)]
        self._seen: list[set[int]] = [set() for _ in range(pairs)]
        self._latest = [-1] * pairs

    def exchange(
        self,
        sends: Sequence[Sends],
        readers: list[socket.socket],
        interval_s: float,
        wait_s: float,
        taken: Callable[[bytes], bytes] = lambda data: data,
    ) -> list[dict[str, Any]]:
        """Sends along each pair and takes what comes; `taken` gives what of a packet was sent here, b"" of others.

        Waits `wait_s` after the last, but where few were sent no longer than until all have come.
        """
        for one, send in zip(self.found, sends, strict=True):
            one["trouble"] = send if isinstance(send, str) else ""
        begun = time.monotonic()
        at_once = max(1, math.ceil(_TICK / interval_s)) if interval_s else self._count
        for start in range(0, self._count, at_once):
            for number in range(start, min(self._count, start + at_once)):
                for index, send in enumerate(sends):
                    if not isinstance(send, str):
                        self._send(index, number, send)
            self._drain(readers, begun + (start + at_once) * interval_s, taken)
        until = time.monotonic() + wait_s
        while time.monotonic() < until and not (self._count <= _FEW and self._is_complete):
            self._drain(readers, min(until, time.monotonic() + 0.01), taken)
        for one in self.found:
            one["delays_ms"].sort()
        return self.found

    @property
    def _is_complete(self) -> bool:
        return all(one["received"] == self._count or one["trouble"] for one in self.found)

    def _send(self, index: int, number: int, send: Callable[[bytes], object]) -> None:
        try:
            send(_HEADER.pack(_MAGIC, (index << 20) + number, time.monotonic_ns()) + self._body)
            self.found[index]["sent"] += 1
        except OSError as error:
            self.found[index]["trouble"] = f"it cannot send: {error.strerror}"

    def _drain(self, readers: list[socket.socket], until: float, taken: Callable[[bytes], bytes]) -> None:
        """Takes what comes until then."""
        while True:
            left = until - time.monotonic()
            ready, _, _ = select.select(readers, [], [], max(0.0, left))
            for reader in ready:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self._take(taken(reader.recv(65536)), time.monotonic_ns())
            if left <= 0:
                return

    def _take(self, packet: bytes, at: int) -> None:
        if len(packet) < _HEADER.size:
            return
        head, number, sent = _HEADER.unpack_from(packet)
        index, number = divmod(number, 1 << 20)
        known = index < len(self.found)
        one = self.found[index if known else 0]
        if head != _MAGIC or packet[_HEADER.size :] != self._body or not known or number >= self._count:
            one["corrupted"] += 1
        elif number in self._seen[index]:
            one["duplicates"] += 1
        else:
            one["reordered"] += number < self._latest[index]
            self._latest[index] = max(number, self._latest[index])
            self._seen[index].add(number)
            one["received"] += 1
            one["delays_ms"].append((at - sent) / 1e6)
            first = self._first[index]
            self._first[index] = first = at if first is None else first
            one["span_s"] = (at - first) / 1e9


def connections(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Opens a TCP connection along each of `pairs`, [from, to, port], side by side.

    Where nobody listens on the port, we do. `wait_s` is how long each may take. Gives for each: `outcome`
    ("connected", "reset", "timed out", "refused", or the system's words), `took_ms`, `trouble`.
    """
    wait = float(args.get("wait_s", 0.3))
    found: list[dict[str, Any]] = [{"outcome": "", "took_ms": 0.0, "trouble": ""} for _ in args["pairs"]]
    with contextlib.ExitStack() as stack:
        pending: dict[socket.socket, tuple[int, float]] = {}
        for index, (source, target, port) in enumerate(args["pairs"]):
            try:
                _listen(stack, spot_id(target), int(port))
                connection = stack.enter_context(open_in(spot_id(source), socket.socket))
            except OSError as error:
                found[index]["trouble"] = f"it cannot be tried: {error.strerror or error}"
                continue
            pending[connection] = index, time.monotonic()
            connection.setblocking(False)
            connection.connect_ex((target["address"], int(port)))
        end = time.monotonic() + wait
        while pending and time.monotonic() < end:
            _, ready, _ = select.select([], list(pending), [], max(0.0, end - time.monotonic()))
            for made in ready:
                index, begun = pending.pop(made)
                code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                found[index]["outcome"] = _OUTCOMES.get(code, errno.errorcode.get(code, str(code)))
                found[index]["took_ms"] = (time.monotonic() - begun) * 1000
        for index, _ in pending.values():
            found[index] |= {"outcome": "timed out", "took_ms": wait * 1000}
    return found


def _listen(stack: contextlib.ExitStack, identity: str, port: int) -> None:
    """Where the port is in use somebody listens there already."""

    def opened() -> socket.socket | None:
        made = socket.socket()
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("0.0.0.0", port))  # noqa: S104 - inside the node's own network
            made.listen(16)
        except OSError as error:
            made.close()
            if error.errno == errno.EADDRINUSE:
                return None
            raise
        return made

    listener = open_in(identity, opened)
    if listener is not None:
        stack.enter_context(listener)


def _datagram_socket(identity: str, port: int) -> socket.socket:
    def opened() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, _NO_CHECKSUM, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind(("0.0.0.0", port))  # noqa: S104 - inside the node's own network
        made.setblocking(False)
        return made

    return open_in(identity, opened)


def open_in(identity: str, opened: Callable[[], T]) -> T:
    """Calls it in the network of a node, "" the host. Raises: OSError, also where the node does not run."""
    if not identity:
        return opened()
    pid = nodes.init(identity)
    if pid is None:
        raise OSError(errno.ESRCH, "the node does not run")
    return nodes.in_network(pid, opened)


def spot_id(node: Mapping[str, Any]) -> str:
    return str(node["id"])


CALLS = {"datagrams": datagrams, "connections": connections}
