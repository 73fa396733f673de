"""L5. IPv4 packets as bytes: where they go, how one is damaged, how a TCP connection is reset."""

from __future__ import annotations

import struct
from random import Random
from typing import NamedTuple

TCP, UDP = 6, 17
_SYN, _RST, _ACK, _FIN = 0x02, 0x04, 0x10, 0x01
_OUR_PORT = 9
_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")


class Packet(NamedTuple):
    """`port` is the one it is sent to, 0 where it has none; `header` the length of the IP header in bytes."""

    source: bytes
    destination: bytes
    protocol: int
    port: int
    header: int


def read(data: bytes) -> Packet | None:
    """None: it is no whole header of IPv4."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    header, protocol = (data[0] & 15) * 4, data[9]
    is_first = not (data[6] & 0x1F or data[7])  # later fragments have no ports
    has_port = protocol in (TCP, UDP) and is_first and len(data) >= header + 4
    port = data[header + 2] << 8 | data[header + 3] if has_port else 0
    return Packet(data[12:16], data[16:20], protocol, port, header)


def damaged(data: bytes, random: Random) -> bytes:
    """The packet with one bit turned over in what it carries, or else behind the IP header."""
    packet = read(data)
    if packet is None:
        return data
    begin = packet.header
    if packet.protocol == UDP:
        begin += 8
    elif packet.protocol == TCP and len(data) > packet.header + 12:
        begin += (data[packet.header + 12] >> 4) * 4
    if begin >= len(data):
        begin = packet.header
    if begin >= len(data):
        return data
    at = random.randrange(begin, len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def can_be_reset(packet: Packet, data: bytes) -> bool:
    """Whether it is a TCP segment, and no reset itself: those are never answered."""
    at = packet.header
    return packet.protocol == TCP and packet.port > 0 and len(data) >= at + _TCP.size and not data[at + 13] & _RST


def resets(data: bytes) -> tuple[bytes, bytes]:
    """For a TCP segment: the reset that goes back to who sent it, and the one that goes on in its place.

    Source: RFC 9293, 3.10.7.1: a reset takes its number from the segment's acknowledgement, or acknowledges it.
    """
    at = (data[0] & 15) * 4
    source, destination = data[12:16], data[16:20]
    from_port, to_port, number, acknowledged, offset, flags, *_ = _TCP.unpack_from(data, at)
    length = struct.unpack_from("!H", data, 2)[0] - at - (offset >> 4) * 4
    length += bool(flags & _SYN) + bool(flags & _FIN)
    if flags & _ACK:
        back = _segment(destination, source, to_port, from_port, acknowledged, 0, _RST)
    else:
        back = _segment(destination, source, to_port, from_port, 0, (number + length) & 0xFFFFFFFF, _RST | _ACK)
    return back, _segment(source, destination, from_port, to_port, number, acknowledged, _RST | flags & _ACK)


def segment(source: bytes, destination: bytes, port: int, body: bytes) -> bytes:
    """A TCP segment that belongs to no connection and, being a reset, gets no answer: to measure a link to a port."""
    return _segment(source, destination, _OUR_PORT, port, 0, 0, _RST, body)


def body(packet: Packet, data: bytes) -> bytes:
    """What a segment made by `segment` carries; b"" of all other packets."""
    at = packet.header
    is_ours = packet.protocol == TCP and data[at : at + 2] == _OUR_PORT.to_bytes(2, "big") and data[at + 13] == _RST
    return data[at + _TCP.size :] if is_ours else b""


def _segment(
    source: bytes,
    destination: bytes,
    from_port: int,
    to_port: int,
    number: int,
    acknowledged: int,
    flags: int,
    body: bytes = b"",
) -> bytes:
    tcp = _TCP.pack(from_port, to_port, number, acknowledged, 5 << 4, flags, 0, 0, 0)
    checked = source + destination + struct.pack("!BBH", 0, TCP, len(tcp) + len(body)) + tcp + body
    tcp = tcp[:16] + struct.pack("!H", checksum(checked)) + tcp[18:] + body
    head = _IP.pack(0x45, 0, 20 + len(tcp), 0, 0x4000, 64, TCP, 0, source, destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp


def checksum(data: bytes) -> int:
    """Source: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
