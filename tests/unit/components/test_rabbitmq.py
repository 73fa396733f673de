"""RabbitMQ as seen through AMQP and its management API: what a driver makes of answers, roles, copies, options."""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from clusterkit.client import ClientError, Driver, NotSent, Refused
from clusterkit.components import rabbitmq
from clusterkit.components.base import Group, Options, Purpose, Running
from clusterkit.components.rabbitmq_client import AmqpConnection, AmqpError
from clusterkit.node import Command, Result
from tests.unit.components.node_servers import SECRET, group, running, serving

DECLARE, PUBLISH, GET, ACK, NACK = (50, 10), (60, 40), (60, 70), (60, 80), (60, 120)
Sent = list[bytes]


def method(name: tuple[int, int], arguments: bytes = b"", channel: int = 1) -> bytes:
    return frame(1, struct.pack(">HH", *name) + arguments, channel)


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


DECLARED = method((50, 11), short("q") + struct.pack(">II", 3, 0))
CONFIRMED = method(ACK, struct.pack(">QB", 1, 0))
EMPTY = method((60, 72), short(""))
GOT = (
    method((60, 71), struct.pack(">QB", 9, 0) + short("") + short("q") + struct.pack(">I", 0))
    + frame(2, struct.pack(">HHQHB", 60, 0, 2, 0x1000, 2))
    + frame(3, b"4")
    + frame(3, b"2")
)
RETURNED = method((60, 50), struct.pack(">H", 312) + short("NO_ROUTE") + short("") + short("q"))
CLOSED = method((20, 40), struct.pack(">H", 404) + short("NOT_FOUND - no queue 'q' in vhost '/'") + b"\0\0\0\0")


@dataclass
class FakeRabbit:
    """A server that opens a channel, and answers each later method with what `says` has for it; nothing: silence."""

    says: dict[tuple[int, int], bytes] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def serve(self) -> contextlib.AbstractContextManager[int]:
        fake = self
        own: dict[tuple[int, int], bytes] = {
            (10, 31): b"",
            (10, 40): method((10, 41), short(""), 0),
            (20, 10): method((20, 11), b"\0\0\0\0"),
            (85, 10): method((85, 11)),
            (10, 50): method((10, 51), b"", 0),
        }

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.rfile.read(8)
                self.wfile.write(method((10, 10), b"\0\x09" + b"\0" * 12, 0))
                while head := self.rfile.read(7):
                    kind, _, size = struct.unpack(">BHI", head)
                    payload = self.rfile.read(size + 1)[:-1]
                    if kind != 1:
                        continue
                    number, name = struct.unpack_from(">HH", payload)
                    asked = (number, name)
                    fake.asked.append(asked)
                    if asked == (10, 11):
                        known = SECRET.encode() in payload
                        denied = method((10, 50), struct.pack(">H", 403) + short("ACCESS_REFUSED") + b"\0\0\0\0", 0)
                        tune = method((10, 30), struct.pack(">HIH", 0, 131072, 60), 0)
                        self.wfile.write(tune if known else denied)
                    else:
                        self.wfile.write({**own, **fake.says}.get(asked, b""))

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return serving(server)


def of_one() -> Group:
    return group(rabbitmq.COMPONENT, name="messages", replicas=1)


@contextlib.contextmanager
def driving(says: dict[tuple[int, int], bytes], options: Options | None = None) -> Iterator[tuple[Driver, FakeRabbit]]:
    of, fake = of_one(), FakeRabbit({DECLARE: DECLARED, **says})
    with fake.serve() as port:
        at = running(rabbitmq.COMPONENT, of, {"messages-1": port})
        driver = at.driver(of.first, Purpose("queue", options))
        try:
            yield driver, fake
        finally:
            driver.close()


# -- the driver --------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_while_connecting() -> None:
    with FakeRabbit().serve() as port, pytest.raises(AmqpError, match="403 ACCESS_REFUSED"):
        AmqpConnection("127.0.0.1", port, 0.5, "clusterkit", "wrong")


def test_a_confirmed_message_is_in_the_queue() -> None:
    with driving({PUBLISH: CONFIRMED}) as (driver, fake):
        assert driver.call("enqueue", "k", 7) is None
    assert fake.asked.count(PUBLISH) == 1


def test_a_message_that_no_queue_took_was_refused() -> None:
    content = frame(2, struct.pack(">HHQH", 60, 0, 1, 0)) + frame(3, b"7")
    with driving({PUBLISH: RETURNED + content + CONFIRMED}) as (driver, _), pytest.raises(Refused, match="NO_ROUTE"):
        driver.call("enqueue", "k", 7)


@pytest.mark.parametrize(
    "answer", [b"", CLOSED, method(NACK, struct.pack(">QB", 1, 0))], ids=["silence", "closed", "nack"]
)
def test_of_a_message_that_was_not_confirmed_nobody_knows(answer: bytes) -> None:
    with driving({PUBLISH: answer}) as (driver, _), pytest.raises((OSError, ClientError)) as raised:
        driver.call("enqueue", "k", 7)
    assert not isinstance(raised.value, (NotSent, Refused))


def test_where_no_queue_can_be_made_nothing_was_sent() -> None:
    with driving({DECLARE: CLOSED}) as (driver, fake), pytest.raises(NotSent, match="no queue: 404 NOT_FOUND"):
        driver.call("enqueue", "k", 7)
    assert PUBLISH not in fake.asked


def test_a_message_in_several_frames_is_taken_and_acknowledged() -> None:
    with driving({GET: GOT, ACK: b""}) as (driver, fake):
        assert driver.call("dequeue", "k", None) == 42
    assert fake.asked[-4:] == [GET, ACK, DECLARE, (10, 50)]


def test_an_empty_queue_gives_nothing() -> None:
    with driving({GET: EMPTY}) as (driver, fake):
        assert driver.call("dequeue", "k", None) is None
    assert ACK not in fake.asked


@pytest.mark.parametrize("answer", [b"", CLOSED], ids=["silence", "closed"])
def test_what_was_not_acknowledged_was_not_taken(answer: bytes) -> None:
    with driving({GET: answer}) as (driver, _), pytest.raises(NotSent):
        driver.call("dequeue", "k", None)


def test_of_an_acknowledgement_that_nothing_came_after_nobody_knows() -> None:
    with driving({GET: GOT, ACK: CLOSED}) as (driver, _), pytest.raises(AmqpError) as raised:
        driver.call("dequeue", "k", None)
    assert not isinstance(raised.value, (NotSent, Refused))


# -- the management API ------------------------------------------------------------------------------------------------


def queue(name: str, leader: int, members: tuple[int, ...], online: tuple[int, ...] | None = None) -> dict[str, Any]:
    def node(index: int) -> str:
        return f"rabbit@192.0.2.{10 + index}"

    there = members if online is None else online
    return {
        "name": name,
        "type": "quorum",
        "leader": node(leader),
        "members": [node(one) for one in members],
        "online": [node(one) for one in there],
        "messages": 2,
    }


@contextlib.contextmanager
def managed(
    queues: Callable[[], list[dict[str, Any]]], up: tuple[int, ...] = (1, 2, 3), replicas: int = 3
) -> Iterator[Running]:
    """A cluster whose members tell that those of `up` run, and these queues."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            login = base64.b64encode(f"clusterkit:{SECRET}".encode()).decode()
            nodes = [{"name": f"rabbit@192.0.2.{10 + one}", "running": one in up} for one in range(1, 4)]
            body = json.dumps(nodes if self.path.startswith("/api/nodes") else queues()).encode()
            self.send_response(200 if self.headers["Authorization"] == f"Basic {login}" else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    of = group(rabbitmq.COMPONENT, name="messages", replicas=replicas)
    with serving(server) as port:
        yield running(rabbitmq.COMPONENT, of, {f"messages-{one}": port for one in up if one <= replicas})


def test_roles_name_the_queues_that_a_node_leads() -> None:
    told = [queue("orders", 1, (1, 2, 3)), queue("clusterkit.quorum.r-0", 2, (1, 2, 3))]
    with managed(lambda: told) as cluster:
        roles = rabbitmq.read_roles(cluster)
    assert [role.name for role in roles["messages-1"]] == ["running", "orders-leader"]
    assert [role.name for role in roles["messages-2"]] == ["running", "workload-leader"]
    assert [role.of for role in roles["messages-2"]] == ["", "clusterkit.quorum.r-0"]


def test_a_node_that_does_not_run_and_a_copy_that_is_away_are_told() -> None:
    with managed(lambda: [queue("orders", 1, (1, 2, 3), (1, 2))], up=(1, 2)) as cluster:
        assert rabbitmq.is_one_cluster(cluster) == {
            "messages-1": "it does not see messages-3 run",
            "messages-2": "it does not see messages-3 run",
        }
        assert rabbitmq.queues_are_whole(cluster) == {"messages-1": "queue orders: messages-3 is away"}
        bad = [finding.what for finding in rabbitmq.examine(cluster) if not finding.is_ok]
    assert bad == ["queue orders: quorum, led by messages-1, 3 copies, 2 messages; away: messages-3"]


def test_a_queue_without_a_leader_is_not_whole() -> None:
    with managed(lambda: [{**queue("orders", 1, (1, 2, 3)), "leader": ""}]) as cluster:
        assert rabbitmq.queues_are_whole(cluster) == {"messages-1": "queue orders has no leader"}


def listen(cluster: Running, told: list[dict[str, Any]], result: Result) -> list[tuple[str, ...]]:
    """What is run on the first node, from now on; a queue that is grown has three copies afterwards."""
    ran: list[tuple[str, ...]] = []

    def run(command: Command) -> Result:
        ran.append(command.argv)
        if "grow" in command.argv:
            told[0] = queue("orders", 1, (1, 2, 3))
        return result

    for node in cluster.nodes.values():
        node.run = run  # type: ignore[method-assign]
    return ran


def test_a_queue_with_too_few_copies_gets_another_one() -> None:
    told = [queue("orders", 1, (1, 2))]
    with managed(lambda: told) as cluster:
        ran = listen(cluster, told, Result(0))
        rabbitmq.settle(cluster)
        rabbitmq.settle(cluster)
    assert ran == [("rabbitmq-queues", "grow", "rabbit@192.0.2.13", "all", "--queue-pattern", "^orders$")]


def test_a_node_that_is_gone_is_forgotten() -> None:
    told = [queue("orders", 1, (1, 2, 3))]
    with managed(lambda: told, up=(1, 2), replicas=2) as cluster:
        ran = listen(cluster, told, Result(0))
        rabbitmq.settle(cluster)
    assert ran == [
        ("rabbitmq-queues", "shrink", "rabbit@192.0.2.13"),
        ("rabbitmqctl", "forget_cluster_node", "rabbit@192.0.2.13"),
    ]


def test_what_the_program_says_is_the_error() -> None:
    told = [queue("orders", 1, (1, 2, 3))]
    with managed(lambda: told) as cluster:
        listen(cluster, told, Result(1, b"", b"Error:\nno such node\n\n"))
        with pytest.raises(ClientError, match=r"shrink rabbit@192\.0\.2\.13: no such node"):
            rabbitmq.release(cluster, cluster.members[2])


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["default_pass", "cluster_formation.node_type", "log.file"])
def test_what_is_ours_cannot_be_set(key: str) -> None:
    with pytest.raises(ValidationError, match="set by clusterkit"):
        rabbitmq.RabbitmqOptions(settings={key: "x"})


def test_lean_and_production() -> None:
    assert rabbitmq.RabbitmqOptions().limits["vm_memory_high_watermark.absolute"] == 256 * 2**20
    assert set(rabbitmq.RabbitmqOptions(production=True).limits) == {"disk_free_limit.absolute"}
