"""L5. Impaired links in a process of its own: takes packets from a queue and gives each its fate.

`python3 -m agent.delay QUEUE` reads tables of links from its input, a line of JSON each, and answers each by a line;
it ends with its input, and with it the agent. Where it is not there, packets pass as if nothing were wrong.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from . import packet as ip
from .impair import Impair, Part, fate
from .kind import Refused
from .nfqueue import HEADERS, WHOLE, Queue, free_number, served
from .packet import Packet

_ANSWER_SECONDS = 5.0
_PROTOCOLS = {"tcp": ip.TCP, "udp": ip.UDP}


class Table:
    """Which faults are on which way. `links`: mappings of `id`, `source`, `destination`, `port` ("6379/tcp", or ""
    for all traffic) and `impair`, the fields of Impair.
    """

    def __init__(self, links: Sequence[Mapping[str, Any]], old: Table | None = None) -> None:
        """What goes on from the old table keeps its state."""
        self._known: dict[tuple[str, ...], Part] = {}
        self._ways: dict[tuple[bytes, bytes], list[tuple[tuple[int, int] | None, Part]]] = {}
        for link in links:
            key = tuple(str(link[name]) for name in ("id", "source", "destination", "port"))
            impair = Impair(**link["impair"])
            part = old._known.get(key) if old is not None else None
            if part is None or part.impair != impair:
                part = Part(impair)
            self._known[key] = part
            number, _, protocol = str(link["port"]).partition("/")
            port = (_PROTOCOLS[protocol], int(number)) if protocol else None
            way = socket.inet_aton(link["source"]), socket.inet_aton(link["destination"])
            self._ways.setdefault(way, []).append((port, part))

    @property
    def is_delay_alone(self) -> bool:
        return all(part.impair.is_delay_alone for part in self._known.values())

    @property
    def is_rewriting(self) -> bool:
        """Whether whole packets are needed: to damage them, or to send them twice."""
        return any(part.impair.corrupt or part.impair.duplicate for part in self._known.values())

    def parts(self, packet: Packet) -> list[Part]:
        """What is on the packet's way; empty: it is not impaired."""
        to = packet.protocol, packet.port
        found = self._ways.get((packet.source, packet.destination), ())
        return [part for port, part in found if port is None or port == to]


class Sender:
    """Sends whole packets from this thread's network namespace itself, so that they are not queued again."""

    def __init__(self) -> None:
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the network was removed meanwhile: nobody is there to get it
            self._raw.sendto(data, (socket.inet_ntoa(data[16:20]), 0))

    def close(self) -> None:
        self._raw.close()


class Engine:
    """Verdicts for the packets of one queue. All chance comes from `random`, times in seconds from `clock`; copies and
    resets go out by `send`.
    """

    def __init__(
        self,
        queue: Queue,
        send: Callable[[bytes], None],
        random: Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self._send = send
        self._random = random
        self._clock = clock
        self._table = Table(())
        self._held: list[tuple[float, int, _Held]] = []
        self._count = 0

    def use(self, links: Sequence[Mapping[str, Any]]) -> None:
        """From now on; packets that wait on a way which is whole again go on at once."""
        self._table = Table(links, self._table)
        self.queue.copy(WHOLE if self._table.is_rewriting else HEADERS, whole_segments=self._table.is_delay_alone)
        self._held = [item if self._table.parts(item[2].packet) else (0.0, *item[1:]) for item in self._held]
        heapq.heapify(self._held)

    def wait_s(self) -> float | None:
        """Seconds until the next packet is due; None: nothing is held."""
        return max(0.0, self._held[0][0] - self._clock()) if self._held else None

    def work(self) -> None:
        """Takes what has come, lets go what is due; waits for nothing."""
        for number, data in self.queue.waiting():
            self._take(number, data, self._clock())
        now = self._clock()
        while self._held and self._held[0][0] <= now:
            self._release(heapq.heappop(self._held)[2])

    def _take(self, number: int, data: bytes, now: float) -> None:
        packet = ip.read(data)
        parts = self._table.parts(packet) if packet is not None else []
        if packet is None or not parts:
            self.queue.accept(number)
            return
        if any(part.impair.reset for part in parts) and ip.can_be_reset(packet, data):
            self.queue.drop(number)
            for answer in ip.resets(data):
                self._send(answer)
            return
        size = int.from_bytes(data[2:4], "big")
        found = fate(parts, size, now, self._random)
        if found is None:
            self.queue.drop(number)
            return
        changed = None
        copies = 0
        if len(data) == size:  # what came before whole packets were asked for cannot be written again
            changed = ip.damaged(data, self._random) if found.is_damaged else None
            copies = found.copies
        held = _Held(number, packet, changed, copies, (changed or data) if copies else b"")
        if found.due <= now:
            self._release(held)
        else:
            self._count += 1
            heapq.heappush(self._held, (found.due, self._count, held))

    def _release(self, held: _Held) -> None:
        self.queue.accept(held.number, held.changed)
        for _ in range(held.copies):
            self._send(held.data)


class _Held(NamedTuple):
    """`changed`: bytes in place of the packet's own. `data`: what the copies are made of."""

    number: int
    packet: Packet
    changed: bytes | None
    copies: int
    data: bytes


class Worker:
    """The agent's side: a process that serves the queue, started when it is needed and whenever it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.queue = 0

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def use(self, links: Sequence[Mapping[str, Any]]) -> None:
        """The links are in force when this returns. Raises: Refused, OSError."""
        if not self.is_alive:
            self._start()
        try:
            self._tell(json.dumps(links))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Lets go what is held, and ends it."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # it is gone already
                    pipe.close()
        try:
            process.wait(_ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        self.stop()
        self.queue = free_number(served())
        name, _, _ = __name__.rpartition(".")
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", f"{name}.delay", str(self.queue)],
            cwd=Path(__file__).resolve().parents[name.count(".") + 1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _tell(self, line: str) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise Refused("the process that delays packets does not run")
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], _ANSWER_SECONDS)
        if not ready or not process.stdout.readline():
            raise Refused("the process that delays packets does not answer", "see `docker logs clusterkit-agent`")


def serve(queue: int) -> None:
    """Until the input ends; then what is held goes on at once."""
    engine = Engine(Queue(queue), Sender(), Random())  # noqa: S311 - chance, not secrets
    rest = b""
    while True:
        ready, _, _ = select.select([0, engine.queue.fileno()], [], [], engine.wait_s())
        if 0 in ready:
            said = os.read(0, 1 << 16)
            *lines, rest = (rest + said).split(b"\n")
            for line in lines:
                engine.use(json.loads(line))
                os.write(1, b"ok\n")
            if not said:
                engine.use([])
                engine.work()
                return
        engine.work()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
