"""Who is delayed, lost, sent twice or reset, with a queue and a clock of this test."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from random import Random
from typing import Any, cast

import pytest

from clusterkit.agent.program.delay import Engine
from clusterkit.agent.program.nfqueue import HEADERS, WHOLE, Queue

A, B, C = "10.64.0.11", "10.64.0.12", "10.64.0.13"


class FakeQueue:
    def __init__(self) -> None:
        self.waits: list[tuple[int, bytes]] = []
        self.copies: list[tuple[int, bool]] = []
        self.said: list[tuple[int, str]] = []
        self.changed: dict[int, bytes] = {}

    def copy(self, length: int, *, whole_segments: bool) -> None:
        self.copies.append((length, whole_segments))

    def waiting(self) -> Iterator[tuple[int, bytes]]:
        waits, self.waits = self.waits, []
        yield from waits

    def accept(self, number: int, payload: bytes | None = None) -> None:
        self.said.append((number, "accept"))
        if payload is not None:
            self.changed[number] = payload

    def drop(self, number: int) -> None:
        self.said.append((number, "drop"))


class Bench:
    """An engine whose packets come from `arrive`, numbered from 1."""

    def __init__(self) -> None:
        self.queue = FakeQueue()
        self.sent: list[bytes] = []
        self.now = 100.0
        self.count = 0
        self.engine = Engine(cast(Queue, self.queue), self.sent.append, Random(1), lambda: self.now)

    def arrive(self, *packets: bytes) -> None:
        for data in packets:
            self.count += 1
            self.queue.waits.append((self.count, data))
        self.engine.work()

    def later(self, seconds: float) -> list[tuple[int, str]]:
        """What is said from now until then."""
        self.queue.said.clear()
        self.now += seconds
        self.engine.work()
        return self.queue.said


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _link(source: str, destination: str, port: str = "", identity: str = "one-1", **impair: Any) -> dict[str, Any]:
    return {"id": identity, "source": source, "destination": destination, "port": port, "impair": impair}


def _packet(source: str, destination: str, port: int = 7000, protocol: int = 17, body: bytes = b"x" * 64) -> bytes:
    if protocol == 6:
        rest = struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 5 << 4, 2, 0, 0, 0) + body
    else:
        rest = struct.pack("!HHHH", 4000, port, 8 + len(body), 0) + body
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(rest), 0, 0, 64, protocol, 0) + ends + rest


def test_a_packet_waits_until_it_is_due_and_others_do_not(bench: Bench) -> None:
    bench.engine.use([_link(A, B, delay_ms=100)])
    bench.arrive(_packet(A, B), _packet(B, A), _packet(A, C))
    assert bench.queue.said == [(2, "accept"), (3, "accept")]
    assert bench.engine.wait_s() == pytest.approx(0.1)
    assert bench.later(0.099) == []
    assert bench.later(0.001001) == [(1, "accept")]
    assert bench.engine.wait_s() is None


def test_a_port_is_one_of_a_protocol(bench: Bench) -> None:
    bench.engine.use([_link(A, B, "7000/tcp", loss=1)])
    bench.arrive(_packet(A, B, 7000, 17), _packet(A, B, 7001, 6), _packet(A, B, 7000, 6))
    assert bench.queue.said == [(1, "accept"), (2, "accept"), (3, "drop")]


def test_faults_on_one_way_add_up_and_each_ends_alone(bench: Bench) -> None:
    slow, slower = _link(A, B, identity="latency-1", delay_ms=10), _link(A, B, identity="latency-2", delay_ms=20)
    bench.engine.use([slow, slower])
    bench.arrive(_packet(A, B))
    assert bench.engine.wait_s() == pytest.approx(0.03)
    bench.engine.use([slower])
    bench.arrive(_packet(A, B))
    assert bench.later(0.0201) == [(2, "accept")]
    assert bench.later(0.01) == [(1, "accept")]


def test_what_waits_on_a_way_that_is_whole_again_goes_on_at_once(bench: Bench) -> None:
    bench.engine.use([_link(A, B, delay_ms=9000), _link(B, A, delay_ms=9000)])
    bench.arrive(_packet(A, B), _packet(B, A))
    bench.engine.use([_link(B, A, delay_ms=9000)])
    assert bench.later(0) == [(1, "accept")]


def test_a_narrow_link_stays_busy_when_another_fault_comes(bench: Bench) -> None:
    narrow = _link(A, B, bits_per_second=8 * 92 * 10)
    bench.engine.use([narrow])
    bench.arrive(_packet(A, B))
    bench.engine.use([narrow, _link(B, A, identity="loss-1", loss=1)])
    bench.arrive(_packet(A, B))
    assert bench.later(0.1001) == [(1, "accept")]
    assert bench.later(0.1001) == [(2, "accept")]


def test_a_copy_goes_with_its_packet(bench: Bench) -> None:
    bench.engine.use([_link(A, B, duplicate=1, delay_ms=10)])
    data = _packet(A, B)
    bench.arrive(data)
    assert bench.sent == []
    bench.later(0.011)
    assert bench.queue.said == [(1, "accept")]
    assert bench.sent == [data]


def test_damage_takes_the_place_of_the_packet(bench: Bench) -> None:
    bench.engine.use([_link(A, B, corrupt=1)])
    data = _packet(A, B)
    bench.arrive(data)
    assert len(bench.queue.changed[1]) == len(data)
    assert bench.queue.changed[1] != data


def test_what_came_cut_short_is_not_written_again(bench: Bench) -> None:
    bench.engine.use([_link(A, B, corrupt=1, duplicate=1)])
    bench.arrive(_packet(A, B, body=b"x" * 1000)[:HEADERS])
    assert bench.queue.said == [(1, "accept")]
    assert (bench.queue.changed, bench.sent) == ({}, [])


def test_a_connection_is_reset_at_both_ends_and_datagrams_pass(bench: Bench) -> None:
    bench.engine.use([_link(A, B, reset=True)])
    bench.arrive(_packet(A, B, protocol=6), _packet(A, B))
    assert bench.queue.said == [(1, "drop"), (2, "accept")]
    assert [socket.inet_ntoa(data[16:20]) for data in bench.sent] == [A, B]
    bench.arrive(bench.sent[1])
    assert bench.queue.said[-1] == (3, "accept")


def test_only_what_is_needed_is_copied(bench: Bench) -> None:
    bench.engine.use([_link(A, B, delay_ms=1)])
    bench.engine.use([_link(A, B, delay_ms=1, loss=0.5)])
    bench.engine.use([_link(A, B, delay_ms=1), _link(A, C, corrupt=0.5)])
    assert bench.queue.copies == [(HEADERS, True), (HEADERS, False), (WHOLE, False)]


def test_what_is_no_ipv4_passes(bench: Bench) -> None:
    bench.engine.use([_link(A, B, loss=1)])
    bench.arrive(b"\x60" + bytes(60))
    assert bench.queue.said == [(1, "accept")]
