"""Proxies that stand before a real system and tell one lie: who only ever meets honest systems proves nothing.

Each speaks just enough of a protocol to see whole requests and answers. A lie is a function of the request and of
`forward`, which asks the real system; it gives the answer that the client gets.
"""

from __future__ import annotations

import http.client
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

Forward = Callable[[bytes], bytes]
Lie = Callable[[bytes, Forward], bytes]


def honest(request: bytes, forward: Forward) -> bytes:
    return forward(request)


@dataclass
class Drop:
    """Acknowledges the `turn`-th request that is `meant`, with the answer of the one before, and never passes it on."""

    meant: Callable[[bytes], bool]
    turn: int = 2
    seen: int = 0
    answer: bytes = b""
    told: bool = False

    def __call__(self, request: bytes, forward: Forward) -> bytes:
        if not self.meant(request):
            return forward(request)
        self.seen += 1
        if self.seen == self.turn:
            self.told = True
            return self.answer
        self.answer = forward(request)
        return self.answer


@dataclass
class Twice:
    """Passes the `turn`-th request that is `meant` on twice."""

    meant: Callable[[bytes], bool]
    turn: int = 2
    seen: int = 0
    told: bool = False

    def __call__(self, request: bytes, forward: Forward) -> bytes:
        self.seen += self.meant(request)
        if self.meant(request) and self.seen == self.turn:
            self.told = True
            forward(request)
        return forward(request)


@dataclass
class Stale:
    """Answers a request that is `meant` as it was answered first, once the answer has changed twice since."""

    meant: Callable[[bytes], bool]
    answers: dict[bytes, list[bytes]] = field(default_factory=dict)
    told: bool = False

    def __call__(self, request: bytes, forward: Forward) -> bytes:
        answer = forward(request)
        if self.meant(request) and not self.told:
            known = self.answers.setdefault(request, [])
            if answer not in known:
                known.append(answer)
            if len(known) > 2:
                self.told = True
                return known[0]
        return answer


@dataclass
class Changed:
    """Changes the `turn`-th answer to a request that is `meant`."""

    meant: Callable[[bytes], bool]
    change: Callable[[bytes], bytes]
    turn: int = 2
    seen: int = 0
    told: bool = False

    def __call__(self, request: bytes, forward: Forward) -> bytes:
        answer = forward(request)
        self.seen += self.meant(request)
        if self.meant(request) and self.seen == self.turn:
            self.told = True
            return self.change(answer)
        return answer


# -- protocols -------------------------------------------------------------------------------------------------------


def read_resp(stream: BinaryIO) -> bytes:
    """One value of RESP 2, whole; empty at the end of the stream."""
    line = stream.readline()
    kind, rest = line[:1], line[1:].strip()
    if kind == b"$" and rest != b"-1":
        return line + stream.read(int(rest) + 2)
    if kind == b"*" and rest != b"-1":
        return line + b"".join(read_resp(stream) for _ in range(int(rest)))
    return line


class _Resp(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        import socket

        with socket.create_connection(self.server.target) as real, real.makefile("rb") as answers:

            def forward(request: bytes) -> bytes:
                real.sendall(request)
                return read_resp(answers)

            while request := read_resp(self.rfile):  # type: ignore[arg-type]  # it is a buffered reader
                self.wfile.write(self.server.answer(request, forward))


class _Http(socketserver.StreamRequestHandler):
    """A request is its first line and its body: "POST /v3/kv/put", then JSON."""

    server: _Proxy

    def handle(self) -> None:
        real = http.client.HTTPConnection(*self.server.target)
        while line := self.rfile.readline():
            headers = {}
            while (header := self.rfile.readline().strip()) != b"":
                name, _, value = header.partition(b":")
                headers[name.decode().strip()] = value.decode().strip()
            body = self.rfile.read(int(headers.get("Content-Length", 0)))
            method, path, _ = line.decode().split()

            def forward(
                _request: bytes, method: str = method, path: str = path, body: bytes = body,
                headers: dict[str, str] = headers,
            ) -> bytes:  # fmt: skip
                kept = {name: value for name, value in headers.items() if name not in ("Host", "Content-Length")}
                real.request(method, path, body=body, headers=kept)
                answer = real.getresponse()
                return str(answer.status).encode() + b"\n" + answer.read()

            status, _, said = self.server.answer(f"{method} {path}\n".encode() + body, forward).partition(b"\n")
            self.wfile.write(b"HTTP/1.1 %b x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(said), said))
        real.close()


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, handler: type[socketserver.BaseRequestHandler], target: tuple[str, int], lie: Lie) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.target, self._lie, self._lock = target, lie, threading.Lock()

    def answer(self, request: bytes, forward: Forward) -> bytes:
        with self._lock:
            return self._lie(request, forward)


@contextmanager
def before(target: tuple[str, int], protocol: str, lie: Lie) -> Iterator[int]:
    """A proxy before the real system; gives its port on loopback. `protocol`: "http" or "resp"."""
    with _Proxy(_Http if protocol == "http" else _Resp, target, lie) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
            thread.join()
