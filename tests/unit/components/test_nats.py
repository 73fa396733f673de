"""NATS as seen through /jsz and its protocol: roles, what is whole, what a driver makes of answers."""

from __future__ import annotations

import contextlib
import json
import socketserver
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.components import nats
from clusterkit.components.base import KINDS, Purpose, Running
from clusterkit.components.nats_client import EACH, LATEST, ApiError, NatsConnection, connect, subject
from tests.unit.components.node_servers import SECRET, group, running, serving

Said = Callable[[str, bytes, Mapping[str, str]], Any]


@dataclass
class FakeNats:
    """A server that knows the words of the protocol. `says`: (subject, data, headers) -> a dict in JSON, a text for a
    status of the server's own ("503"), or None: no answer.
    """

    says: Said = lambda _subject, _data, _headers: "503"
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def serve(self) -> contextlib.AbstractContextManager[int]:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b'INFO {"server_name":"nats-1"}\r\n')
                known = False
                while line := self.rfile.readline().split():
                    word, *rest = (each.decode() for each in line)
                    if word == "CONNECT":
                        known = json.loads(" ".join(rest)).get("pass") == SECRET
                    elif word == "PING":
                        self.wfile.write(b"PONG\r\n" if known else b"-ERR 'Authorization Violation'\r\n")
                    elif word in ("PUB", "HPUB"):
                        content = self.rfile.read(int(rest[-1]) + 2)[:-2]
                        head = int(rest[2]) if word == "HPUB" else 0
                        headers = dict(
                            part.split(": ", 1) for part in content[:head].decode().split("\r\n")[1:] if part
                        )
                        fake.asked.append((rest[0], content[head:]))
                        self._answer(rest[1], fake.says(rest[0], content[head:], headers))

            def _answer(self, inbox: str, said: Any) -> None:
                number = inbox.rpartition(".")[2]
                if isinstance(said, str):
                    status = f"NATS/1.0 {said}\r\n\r\n"
                    self.wfile.write(
                        f"PING\r\nHMSG {inbox} {number} {len(status)} {len(status)}\r\n{status}\r\n".encode()
                    )
                elif said is not None:
                    data = json.dumps(said)
                    self.wfile.write(f"MSG {inbox} {number} {len(data)}\r\n{data}\r\n".encode())

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return serving(server)


def of_one() -> Any:
    return group(nats.COMPONENT, name="messages", replicas=1)


@contextlib.contextmanager
def driving(says: Said, kind: str, **purpose: Any) -> Iterator[Driver]:
    def with_stream(asked: str, data: bytes, headers: Mapping[str, str]) -> Any:
        return {"config": {}} if asked.startswith("$JS.API.STREAM.INFO") and not data else says(asked, data, headers)

    of = of_one()
    with FakeNats(with_stream).serve() as port:
        driver = running(nats.COMPONENT, of, {"messages-1": port}).driver(of.first, Purpose(kind, **purpose))
        try:
            yield driver
        finally:
            driver.close()


def error(number: int, text: str) -> dict[str, Any]:
    return {"error": {"code": 400, "err_code": number, "description": text}}


# -- the client --------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_while_connecting() -> None:
    with FakeNats().serve() as port, pytest.raises(ClientError, match="Authorization Violation"):
        NatsConnection("127.0.0.1", port, 0.5, "clusterkit", "wrong")


def test_a_key_may_have_what_no_subject_may() -> None:
    assert subject(LATEST, "a/b-c_d") == "clusterkit-latest.a/b-c_d"
    assert subject(LATEST, "a.b *>") == "clusterkit-latest.a=2e=b=20==2a==3e="


def test_several_requests_have_their_answers_in_order() -> None:
    def echo(asked: str, _data: bytes, _headers: Mapping[str, str]) -> Any:
        return {"asked": asked}

    of = of_one()
    with FakeNats(echo).serve() as port:
        connection = connect(running(nats.COMPONENT, of, {"messages-1": port}), of.first)
        with contextlib.closing(connection):
            found = [
                json.loads(one.data)["asked"] for one in connection.requests([("a", b""), ("b", b"x"), ("c", b"")])
            ]
    assert found == ["a", "b", "c"]


def test_a_request_without_an_answer_ends_in_time() -> None:
    of = of_one()
    with FakeNats(lambda *_: None).serve() as port:
        connection = connect(running(nats.COMPONENT, of, {"messages-1": port}), of.first)
        with contextlib.closing(connection), pytest.raises(TimeoutError):
            connection.publish("a", b"")


# -- the driver --------------------------------------------------------------------------------------------------------


def test_each_kind_has_a_driver() -> None:
    assert set(nats.COMPONENT.drivers) == set(KINDS)


def test_what_nobody_took_was_refused() -> None:
    with driving(lambda *_: "503", "set") as driver, pytest.raises(Refused, match="no responders"):
        driver.call("add", "s", 1)


def test_what_got_no_answer_may_have_been_stored() -> None:
    with driving(lambda *_: None, "set") as driver, pytest.raises(TimeoutError) as raised:
        driver.call("add", "s", 1)
    assert not isinstance(raised.value, NotSent)


def test_what_jetstream_says_of_itself_is_no_refusal() -> None:
    busy = error(10008, "JetStream system temporarily unavailable")
    with driving(lambda *_: busy, "set") as driver, pytest.raises(ApiError) as raised:
        driver.call("add", "s", 1)
    assert not isinstance(raised.value, Refused)


def test_a_set_is_read_by_its_subjects_and_doubles_are_seen() -> None:
    asked: list[bytes] = []

    def says(where: str, data: bytes, _headers: Mapping[str, str]) -> Any:
        asked.append(data)
        prefix = subject(EACH, "r/s")
        return {"state": {"subjects": {f"{prefix}.4": 1, f"{prefix}.7": 2}}} if "INFO" in where else {"seq": 1}

    with driving(says, "set") as driver:
        assert driver.call("read", "r/s", None) == [4, 7, 7]
    assert json.loads(asked[-1]) == {"subjects_filter": "clusterkit-each.r/s.*"}


def register(values: dict[str, tuple[str, int]]) -> Said:
    """A stream that keeps the last message of each subject."""

    def says(where: str, data: bytes, headers: Mapping[str, str]) -> Any:
        if "MSG.GET" in where:
            import base64

            found = values.get(json.loads(data)["last_by_subj"])
            if found is None:
                return error(10037, "no message found")
            return {"message": {"data": base64.b64encode(found[0].encode()).decode(), "seq": found[1]}}
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        now = values.get(where, ("", 0))[1]
        if expected is not None and int(expected) != now:
            return error(10071, f"wrong last sequence: {now}")
        number = max([0, *(one[1] for one in values.values())]) + 1
        values[where] = (data.decode(), number)
        return {"stream": LATEST, "seq": number}

    return says


def test_register() -> None:
    with driving(register({}), "register") as driver:
        assert driver.call("read", "k", None) is None
        driver.call("cas", "k", [None, 1])
        with pytest.raises(Unmet):
            driver.call("cas", "k", [None, 2])
        driver.call("write", "k", 3)
        driver.call("cas", "k", [3, 4])
        assert driver.call("read", "k", None) == 4


def test_a_value_that_another_one_wrote_meanwhile_is_not_overwritten() -> None:
    values: dict[str, tuple[str, int]] = {subject(LATEST, "k"): ("1", 1)}
    keeps = register(values)

    def says(where: str, data: bytes, headers: Mapping[str, str]) -> Any:
        said = keeps(where, data, headers)
        if "MSG.GET" in where:
            values[subject(LATEST, "k")] = ("9", 2)
        return said

    with driving(says, "register") as driver, pytest.raises(Unmet, match="another value"):
        driver.call("cas", "k", [1, 2])
    assert values[subject(LATEST, "k")] == ("9", 2)


def test_what_cannot_be_read_first_was_never_written() -> None:
    with driving(lambda *_: None, "counter") as driver, pytest.raises(NotSent):
        driver.call("add", "c", 1)


def test_a_bank_moves_money_in_one_message() -> None:
    with driving(register({}), "bank") as driver:
        driver.call("open", "b", {"a": 5, "b": 5})
        driver.call("transfer", "b", {"from": "a", "to": "b", "amount": 3})
        assert driver.call("read", "b", None) == {"a": 2, "b": 8}
        with pytest.raises(Unmet):
            driver.call("transfer", "b", {"from": "a", "to": "b", "amount": 3})


# -- what servers say --------------------------------------------------------------------------------------------------


def jsz(name: str, leader: str = "messages-1", size: int = 3, led_by: str | None = "messages-2", **more: Any) -> Any:
    """What /jsz says on a server: of JetStream, and of a stream "orders"."""
    others = [{"name": other, "current": True} for other in ("messages-1", "messages-2", "messages-3") if other != name]
    cluster = {"leader": led_by, "replicas": [{"name": "messages-3", "current": more.get("current", True)}]}
    stream = {"name": "orders", "state": {"messages": 7, "bytes": 2048}, "cluster": cluster if led_by else {}}
    return {
        "streams": 1,
        "messages": 7,
        "meta_cluster": {"leader": leader, "cluster_size": size, "replicas": others},
        "account_details": [{"name": "APP", "stream_detail": [stream]}],
    }


@contextlib.contextmanager
def watched(*said: Any) -> Iterator[Running]:
    """messages-1 and so on, which say this at /jsz."""
    of = group(nats.COMPONENT, name="messages")
    with contextlib.ExitStack() as stack:
        ports = {}
        for member, one in zip(of.members, said, strict=False):

            class Handler(BaseHTTPRequestHandler):
                content = json.dumps(one).encode()

                def do_GET(self) -> None:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(self.content)))
                    self.end_headers()
                    self.wfile.write(self.content)

                def log_message(self, *_args: object) -> None:
                    pass

            ports[member.name] = stack.enter_context(serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)))
        yield running(nats.COMPONENT, of, ports)


NAMES = ("messages-1", "messages-2", "messages-3")


def test_all_is_well() -> None:
    with watched(*map(jsz, NAMES)) as seen:
        assert nats.has_one_leader(seen) == {}
        assert nats.streams_are_whole(seen) == {}
        roles = {name: [(role.name, role.of) for role in held] for name, held in nats.read_roles(seen).items()}
        assert all(finding.is_ok for finding in nats.examine(seen))
    assert roles == {
        "messages-1": [("leader", "")],
        "messages-2": [("follower", ""), ("orders-leader", "orders")],
        "messages-3": [("follower", "")],
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([jsz(NAMES[0]), jsz(NAMES[1], leader=""), jsz(NAMES[2])], {"messages-2": "it knows no leader of JetStream"}),
        ([jsz(NAMES[0]), jsz(NAMES[1]), jsz(NAMES[2], size=2)], {"messages-3": "it knows 2 servers of 3"}),
    ],
)
def test_what_is_not_ready_is_said(said: list[Any], expected: dict[str, str]) -> None:
    with watched(*said) as seen:
        assert nats.has_one_leader(seen) == expected


def test_two_leaders_are_two() -> None:
    with watched(jsz(NAMES[0]), jsz(NAMES[1], leader=NAMES[1]), jsz(NAMES[2])) as seen:
        assert set(nats.has_one_leader(seen)) == set(NAMES)
        assert any(not finding.is_ok and finding.what.startswith("leader of") for finding in nats.examine(seen))


def test_a_stream_without_a_leader_or_with_an_old_copy_is_not_whole() -> None:
    with watched(jsz(NAMES[0], led_by=None)) as seen:
        assert nats.streams_are_whole(seen) == {"messages-1": "stream orders has no leader"}
    with watched(jsz(NAMES[0]), jsz(NAMES[1], current=False)) as seen:
        assert nats.streams_are_whole(seen) == {"messages-2": "stream orders: messages-3 must catch up"}


def test_whom_the_leader_counts() -> None:
    with watched(*map(jsz, NAMES)) as seen:
        assert nats.counted(seen) == set(NAMES)
    with watched(jsz(NAMES[0], leader="")) as seen, pytest.raises(ClientError, match="no leader"):
        nats.counted(seen)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"settings": {"server_name": "x"}}, 'settings: "server_name" is set by clusterkit'),
        ({"jetstream": {"store_dir": "/x"}}, 'jetstream: "store_dir" is set by clusterkit'),
    ],
)
def test_what_clusterkit_sets_is_not_set_twice(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        nats.NatsOptions.model_validate(given)
