"""A request ends within its time, whatever the server does."""

from __future__ import annotations

import socketserver
from collections.abc import Callable
from typing import Any

import pytest

from clusterkit.client import NotSent
from clusterkit.clock import Deadline
from clusterkit.components.http_client import HttpConnection, get
from tests.unit.components.node_servers import ADDRESS, FakeEtcd, serving


def _server(answer: Callable[[Any], None]) -> socketserver.TCPServer:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer(self)

    server = socketserver.ThreadingTCPServer(ADDRESS, Handler)
    server.daemon_threads = True
    return server


def _silent(handler: Any) -> None:
    handler.rfile.read()


def test_a_silent_server_times_out() -> None:
    with serving(_server(_silent)) as port, pytest.raises(TimeoutError):
        get("127.0.0.1", port, "/", timeout=0.05)


def test_an_answer_that_never_ends_is_cut() -> None:
    def endless(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            return

    with serving(_server(endless)) as port:
        assert len(get("127.0.0.1", port, "/", timeout=5).body) >= 4 * 2**20


def test_a_server_that_stops_in_the_middle_times_out() -> None:
    def half(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        handler.rfile.read()

    with serving(_server(half)) as port, pytest.raises(TimeoutError):
        get("127.0.0.1", port, "/", timeout=0.05)


def test_what_is_not_http_is_an_oserror() -> None:
    with (
        serving(_server(lambda handler: handler.wfile.write(b"+PONG\r\n\r\n"))) as port,
        pytest.raises(ConnectionError, match="was not HTTP"),
    ):
        get("127.0.0.1", port, "/", timeout=1)


def test_nobody_listens() -> None:
    with serving(_server(_silent)) as port:
        free = port
    with pytest.raises(ConnectionRefusedError):
        get("127.0.0.1", free, "/", timeout=1)


def test_a_connection_is_used_again() -> None:
    with FakeEtcd().serve() as port:
        connection = HttpConnection("127.0.0.1", port, timeout=1)
        try:
            answers = [connection.request("GET", "/health") for _ in range(3)]
        finally:
            connection.close()
    assert [(answer.status, answer.json()) for answer in answers] == [(200, {"health": "true"})] * 3


def test_without_time_nothing_is_sent() -> None:
    with FakeEtcd().serve() as port:
        connection = HttpConnection("127.0.0.1", port, timeout=1)
        with pytest.raises(NotSent, match="no time was left to connect"):
            connection.request("GET", "/health", deadline=Deadline(0))
        connection.request("GET", "/health")
        try:
            with pytest.raises(NotSent, match="no time was left to send it"):
                connection.request("GET", "/health", deadline=Deadline(0))
        finally:
            connection.close()


def test_who_cannot_connect_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: Any, **_more: Any) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr("socket.create_connection", unreachable)
    with pytest.raises(NotSent, match="No route to host"):
        get("192.0.2.1", 80, "/", timeout=1)
