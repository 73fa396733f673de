"""What is said to the kernel, byte by byte, and what it says."""

from __future__ import annotations

import struct

import pytest

from clusterkit.agent.program import nfqueue
from clusterkit.agent.program.kind import Refused

LIST = " 7700  31337 0 2 65531 0 0 0 1\n 7702  4242 0 2 96 0 0 0 1\n"


def _packet(number: int, payload: bytes) -> bytes:
    attributes = nfqueue.attribute(1, struct.pack(">IHB", number, 0x0800, 2)) + nfqueue.attribute(5, b"\0\0\0\7")
    attributes += nfqueue.attribute(10, payload)
    body = struct.pack(">BBH", 2, 0, 7700) + attributes
    return struct.pack("=IHHII", 16 + len(body), 3 << 8, 0, 0, 0) + body


def test_an_attribute_is_padded_to_four_bytes() -> None:
    assert nfqueue.attribute(10, b"abcde") == struct.pack("=HH", 9, 10) + b"abcde\0\0\0"


def test_a_verdict_names_the_packet_and_its_new_content() -> None:
    said = nfqueue.verdict(7700, 5, accept=True, payload=b"abcd")
    assert struct.unpack_from("=IHH", said) == (len(said), 0x301, 1)
    assert said[16:20] == struct.pack(">BBH", 0, 0, 7700)
    assert said[20:32] == struct.pack("=HH", 12, 2) + struct.pack(">II", 1, 5)
    assert said[32:] == struct.pack("=HH", 8, 10) + b"abcd"


def test_a_packet_may_be_dropped() -> None:
    assert nfqueue.verdict(7700, 5, accept=False)[24:] == struct.pack(">II", 0, 5)


def test_packets_are_read_among_other_messages() -> None:
    error = struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -2)
    received = _packet(3, b"first") + error + _packet(4, b"second.")
    assert list(nfqueue.packets(received)) == [(3, b"first"), (4, b"second.")]


@pytest.mark.parametrize("received", [b"", b"short", bytes(64)])
def test_what_is_no_message_ends(received: bytes) -> None:
    assert list(nfqueue.packets(received)) == []


def test_a_queue_that_nobody_serves_is_taken() -> None:
    assert nfqueue.free_number("") == 7700
    assert nfqueue.free_number(LIST) == 7701


def test_there_may_be_no_queue_left() -> None:
    with pytest.raises(Refused, match="all packet queues"):
        nfqueue.free_number(LIST, first=65_536)
