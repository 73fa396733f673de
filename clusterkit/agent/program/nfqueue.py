"""L5. A queue of packets that wait for our verdict: the kernel's NFQUEUE, spoken over netlink.

Source: linux/netfilter/nfnetlink_queue.h; netlink(7).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from .kind import Refused

HEADERS = 96
"""Bytes that are enough to see where a packet goes."""

WHOLE = 0xFFFF

_SUBSYSTEM = 3
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_ERROR = 2
_REQUEST, _ACK = 1, 4
_PACKET_HEADER, _VERDICT_HEADER, _PAYLOAD = 1, 2, 10
_COMMAND, _PARAMS, _LONGEST, _MASK, _FLAGS = 1, 2, 3, 4, 5
_FAIL_OPEN, _GSO = 1, 4
_DROP, _ACCEPT = 0, 1
_MOST_HELD = 65_536
_RECEIVE_BYTES = 16 << 20
_NETLINK_NETFILTER, _SOL_NETLINK, _NO_ENOBUFS, _SO_RCVBUFFORCE = 12, 270, 5, 33

_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


def attribute(kind: int, data: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + b"\0" * (-length % 4)


def message(kind: int, queue: int, attributes: bytes, flags: int) -> bytes:
    body = struct.pack(">BBH", 0, 0, queue) + attributes
    return _HEAD.pack(_HEAD.size + len(body), _SUBSYSTEM << 8 | kind, flags, 0, 0) + body


def verdict(queue: int, number: int, *, accept: bool, payload: bytes | None = None) -> bytes:
    """`payload` takes the place of the packet's own bytes."""
    said = attribute(_VERDICT_HEADER, struct.pack(">II", _ACCEPT if accept else _DROP, number))
    if payload is not None:
        said += attribute(_PAYLOAD, payload)
    return message(_VERDICT, queue, said, _REQUEST)


def packets(received: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes from the IP header on) of each packet in a netlink datagram; other messages are passed by."""
    at = 0
    while at + _HEAD.size <= len(received):
        length, kind, *_ = _HEAD.unpack_from(received, at)
        if kind == _SUBSYSTEM << 8 | _PACKET:
            number, payload = 0, b""
            inner, end = at + _HEAD.size + 4, at + length
            while inner + _ATTRIBUTE.size <= end:
                size, name = _ATTRIBUTE.unpack_from(received, inner)
                if name == _PACKET_HEADER:
                    (number,) = struct.unpack_from(">I", received, inner + 4)
                elif name == _PAYLOAD:
                    payload = received[inner + 4 : inner + size]
                inner += max(size + 3 & ~3, _ATTRIBUTE.size)
            yield number, payload
        at += max(length + 3 & ~3, _HEAD.size)


class Queue:
    """A queue of the network namespace of the thread that opens it. Where nobody serves it packets pass."""

    def __init__(self, number: int) -> None:
        """Raises: OSError, EBUSY or EPERM where another program has the queue."""
        self.number = number
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
            self._socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
            self._held: list[bytes] = []
            self._configure(attribute(_COMMAND, struct.pack(">BBH", 1, 0, socket.AF_INET)))
            self._configure(attribute(_LONGEST, struct.pack(">I", _MOST_HELD)))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def copy(self, length: int, *, whole_segments: bool) -> None:
        """How many bytes of each packet are given; `whole_segments`: also several packets in one, as the kernel has
        them, of which nothing can be rewritten.
        """
        self._configure(attribute(_PARAMS, struct.pack(">IB", length, 2)))
        flags = _FAIL_OPEN | (_GSO if whole_segments else 0)
        mask = struct.pack(">I", _FAIL_OPEN | _GSO)
        self._configure(attribute(_MASK, mask) + attribute(_FLAGS, struct.pack(">I", flags)))

    def waiting(self) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of the packets that have come; does not wait for any."""
        held, self._held = self._held, []
        for received in held:
            yield from packets(received)
        for _ in range(256):  # then others have a turn
            try:
                received = self._socket.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from packets(received)

    def accept(self, number: int, payload: bytes | None = None) -> None:
        self._socket.send(verdict(self.number, number, accept=True, payload=payload))

    def drop(self, number: int) -> None:
        self._socket.send(verdict(self.number, number, accept=False))

    def close(self) -> None:
        """The kernel drops what is still held."""
        self._socket.close()

    def _configure(self, attributes: bytes) -> None:
        """Packets that come before the kernel's answer are kept for `waiting`."""
        self._socket.send(message(_CONFIG, self.number, attributes, _REQUEST | _ACK))
        while True:
            received = self._socket.recv(1 << 17)
            length, kind, *_ = _HEAD.unpack_from(received)
            if kind != _ERROR:
                self._held.append(received)
                continue
            (error,) = struct.unpack_from("=i", received, _HEAD.size)
            asked = struct.unpack_from("=IH", received, _HEAD.size + 4)[1] if length >= _HEAD.size + 10 else 0
            if asked != _SUBSYSTEM << 8 | _CONFIG:
                continue  # of a packet that nobody waits for any more
            if error:
                raise OSError(-error, "the packet queue was refused")
            return


def free_number(text: str, first: int = 7700) -> int:
    """The first queue that nobody serves; `text` is /proc/net/netfilter/nfnetlink_queue."""
    taken = {int(line.split()[0]) for line in text.splitlines() if line.strip()}
    for number in range(first, 65_536):
        if number not in taken:
            return number
    raise Refused("all packet queues of this machine are in use")


def served() -> str:
    """The kernel's list of queues; "" where the kernel knows none."""
    path = Path("/proc/net/netfilter/nfnetlink_queue")
    return path.read_text() if path.exists() else ""
