"""Connections whose every call ends in time, also before a server that drips."""

from __future__ import annotations

import contextlib
import socketserver
import time
from collections.abc import Iterator

import pytest

from clusterkit.clock import Deadline
from clusterkit.components.streams import Stream, connect_by
from tests.unit.components.node_servers import serving


@contextlib.contextmanager
def saying(*parts: bytes, pause: float = 0.0) -> Iterator[int]:
    """The port of a server that says this, part by part, whatever it is asked, and closes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            for part in parts:
                with contextlib.suppress(OSError):  # nobody listens any more
                    self.request.sendall(part)
                time.sleep(pause)

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port


def test_lines_and_lengths_however_they_come() -> None:
    with saying(b"first\r", b"\nsec", b"ond\r\nabc", b"def", pause=0.01) as port:
        stream = Stream("127.0.0.1", port, Deadline(2))
        with contextlib.closing(stream):
            assert [stream.line(Deadline(2)), stream.line(Deadline(2))] == [b"first", b"second"]
            assert [stream.exactly(4, Deadline(2)), stream.exactly(2, Deadline(2))] == [b"abcd", b"ef"]
            with pytest.raises(ConnectionError, match="closed"):
                stream.line(Deadline(2))


def test_a_server_that_drips_holds_nobody_beyond_the_deadline() -> None:
    with saying(*[b"x"] * 40, pause=0.02) as port:
        stream = Stream("127.0.0.1", port, Deadline(2))
        with contextlib.closing(stream), pytest.raises(TimeoutError):
            stream.line(Deadline(0.1))


def test_what_a_library_sets_does_not_count() -> None:
    with saying(b"", pause=0.3) as port, connect_by(Deadline(2), "127.0.0.1", port) as connection:
        connection.deadline = Deadline(0.05)
        connection.settimeout(None)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_nothing_is_sent_after_the_end() -> None:
    with saying(b"", pause=0.1) as port:
        stream = Stream("127.0.0.1", port, Deadline(2))
        with contextlib.closing(stream), pytest.raises(TimeoutError):
            stream.send(b"x", Deadline(0))
