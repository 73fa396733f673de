"""Packets as bytes: read, damaged, answered by a reset."""

from __future__ import annotations

import socket
import struct
from random import Random

import pytest

from clusterkit.agent.program import packet as ip

A, B = socket.inet_aton("10.64.0.11"), socket.inet_aton("10.64.0.12")
SYN, RST, ACK, FIN, PUSH = 2, 4, 16, 1, 8


def _ip(protocol: int, rest: bytes, fragment: int = 0, options: bytes = b"") -> bytes:
    first = 0x40 | (20 + len(options)) // 4
    length = 20 + len(options) + len(rest)
    return struct.pack("!BBHHHBBH4s4s", first, 0, length, 7, fragment, 64, protocol, 0, A, B) + options + rest


def _udp(body: bytes = b"hello") -> bytes:
    return struct.pack("!HHHH", 4000, 53, 8 + len(body), 0) + body


def _tcp(flags: int, number: int = 1000, acknowledged: int = 0, body: bytes = b"") -> bytes:
    return struct.pack("!HHIIBBHHH", 4000, 6379, number, acknowledged, 5 << 4, flags, 512, 0, 0) + body


def _told(data: bytes) -> tuple[bytes, bytes, int, int, int, int, int]:
    """Source, destination, ports, number, acknowledged, flags; the checksums are right."""
    assert ip.checksum(data[:20]) == 0
    assert ip.checksum(data[12:20] + struct.pack("!BBH", 0, 6, len(data) - 20) + data[20:]) == 0
    from_port, to_port, number, acknowledged, _, flags = struct.unpack_from("!HHIIBB", data, 20)
    return data[12:16], data[16:20], from_port, to_port, number, acknowledged, flags


def test_where_a_packet_goes() -> None:
    assert ip.read(_ip(17, _udp())) == ip.Packet(A, B, 17, 53, 20)
    assert ip.read(_ip(6, _tcp(SYN), options=bytes(8))) == ip.Packet(A, B, 6, 6379, 28)
    assert ip.read(_ip(1, b"ping....")) == ip.Packet(A, B, 1, 0, 20)


def test_a_later_fragment_has_no_port() -> None:
    assert ip.read(_ip(17, _udp(), fragment=185)) == ip.Packet(A, B, 17, 0, 20)


@pytest.mark.parametrize("data", [b"", b"short", bytes(40), b"\x60" + bytes(60)])
def test_what_is_no_ipv4_is_not_read(data: bytes) -> None:
    assert ip.read(data) is None
    assert ip.damaged(data, Random(1)) == data


@pytest.mark.parametrize(
    ("data", "begin"),
    [(_ip(17, _udp()), 28), (_ip(6, _tcp(ACK, body=b"x" * 50)), 40), (_ip(6, _tcp(ACK)), 20), (_ip(1, b"ping"), 20)],
    ids=["datagram", "segment", "segment without content", "other"],
)
def test_one_bit_of_what_it_carries_is_turned_over(data: bytes, begin: int) -> None:
    random = Random(1)
    for _ in range(50):
        found = ip.damaged(data, random)
        assert len(found) == len(data)
        assert found[:begin] == data[:begin]
        assert sum((one ^ other).bit_count() for one, other in zip(found, data, strict=True)) == 1


def test_an_opening_is_refused_to_its_sender_and_ended_for_its_receiver() -> None:
    back, on = ip.resets(_ip(6, _tcp(SYN, number=0xFFFFFFFF)))
    assert _told(back) == (B, A, 6379, 4000, 0, 0, RST | ACK)
    assert _told(on) == (A, B, 4000, 6379, 0xFFFFFFFF, 0, RST)


def test_an_open_connection_is_reset_at_both_ends_where_they_expect_the_next_byte() -> None:
    back, on = ip.resets(_ip(6, _tcp(ACK | PUSH, number=500, acknowledged=900, body=b"PING")))
    assert _told(back) == (B, A, 6379, 4000, 900, 0, RST)
    assert _told(on) == (A, B, 4000, 6379, 500, 900, RST | ACK)


def test_content_and_ends_count_for_the_number_that_is_acknowledged() -> None:
    back, _ = ip.resets(_ip(6, _tcp(FIN, number=500, body=b"PING")))
    assert _told(back)[5] == 505


@pytest.mark.parametrize(
    ("data", "can"),
    [
        (_ip(6, _tcp(SYN)), True),
        (_ip(6, _tcp(RST)), False),
        (_ip(6, _tcp(RST | ACK)), False),
        (_ip(17, _udp()), False),
        (_ip(6, _tcp(ACK)[:10]), False),
    ],
)
def test_resets_and_other_packets_are_not_answered(data: bytes, can: bool) -> None:
    found = ip.read(data)
    assert found is not None
    assert ip.can_be_reset(found, data) is can


def test_a_segment_that_measures_is_known_again() -> None:
    data = ip.segment(A, B, 6379, b"content")
    found = ip.read(data)
    assert found == ip.Packet(A, B, 6, 6379, 20)
    assert ip.body(found, data) == b"content"
    assert _told(data)[6] == RST


def test_other_segments_are_no_measure() -> None:
    data = _ip(6, _tcp(ACK, body=b"content"))
    found = ip.read(data)
    assert found is not None
    assert ip.body(found, data) == b""
