"""ZooKeeper as seen through mntr and its protocol: roles, what is ready, what a driver makes of answers."""

from __future__ import annotations

import contextlib
import socketserver
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.components import zookeeper
from clusterkit.components import zookeeper_client as client
from clusterkit.components.base import KINDS, Purpose, Role, Running
from tests.unit.components.node_servers import group, running, serving

_SILENT = 1
"""An error that is none of ZooKeeper's: the fake does not answer at all."""


@dataclass
class FakeZooKeeper:
    """A server with a tree of its own: path -> (data, version). It also answers `mntr` and `srvr`.

    `fails`: type of request -> the error it is answered with. `before`: called with each request's type and path.
    """

    tree: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    fails: dict[int, int] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[int, str]] = field(default_factory=list)
    numbers: int = 0
    before: Any = None
    says_always: bytes = b""

    def serve(self) -> contextlib.AbstractContextManager[int]:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                head = self.rfile.read(4)
                if head in (b"mntr", b"srvr"):
                    self.wfile.write(fake.says[head.decode()].encode())
                    return
                self.rfile.read(struct.unpack(">i", head)[0])
                self._send(struct.pack(">iiqi16s", 0, 4000, 1, 16, bytes(16)))
                while head := self.rfile.read(4):
                    request = self.rfile.read(struct.unpack(">i", head)[0])
                    xid, kind = struct.unpack_from(">ii", request)
                    if kind == client.CLOSE:
                        self._send(struct.pack(">iqi", xid, 9, 0))
                        return
                    error, content = (0, fake.says_always) if fake.says_always else fake.answer(kind, request[8:])
                    if error != _SILENT:
                        self._send(struct.pack(">iqi", xid, 9, error) + content)

            def _send(self, content: bytes) -> None:
                self.wfile.write(struct.pack(">i", len(content)) + content)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return serving(server)

    def answer(self, kind: int, content: bytes) -> tuple[int, bytes]:
        path, place = _text(content, 0)
        self.asked.append((kind, path))
        if self.before is not None:
            self.before(kind, path)
        if kind in self.fails:
            return self.fails[kind], b""
        if kind == client.CREATE:
            return self._create(path, _text(content, place)[0], struct.unpack_from(">i", content, len(content) - 4)[0])
        if kind == client.SYNC:
            return 0, _packed(path)
        if path not in self.tree:
            return -101, b""
        if kind == client.GET_CHILDREN:
            names = [one.rpartition("/")[2] for one in self.tree if one.rpartition("/")[0] == path]
            return 0, struct.pack(">i", len(names)) + b"".join(map(_packed, names))
        return self._on_node(kind, path, content, place)

    def _on_node(self, kind: int, path: str, content: bytes, place: int) -> tuple[int, bytes]:
        data, version = self.tree[path]
        if kind == client.GET_DATA:
            return 0, _packed(data.decode()) + _stat(version)
        if struct.unpack_from(">i", content, len(content) - 4)[0] not in (-1, version):
            return -103, b""
        if kind == client.DELETE:
            del self.tree[path]
            return 0, b""
        self.tree[path] = (_text(content, place)[0].encode(), version + 1)
        return 0, _stat(version + 1)

    def _create(self, path: str, data: str, flags: int) -> tuple[int, bytes]:
        if flags == client.SEQUENTIAL:
            path, self.numbers = f"{path}{self.numbers:010}", self.numbers + 1
        if path in self.tree:
            return -110, b""
        self.tree[path] = (data.encode(), 0)
        return 0, _packed(path)


def _text(content: bytes, place: int) -> tuple[str, int]:
    length = struct.unpack_from(">i", content, place)[0]
    return content[place + 4 : place + 4 + length].decode(), place + 4 + length


def _packed(text: str) -> bytes:
    return struct.pack(">i", len(text)) + text.encode()


def _stat(version: int) -> bytes:
    return struct.pack(">qqqqiiiqiiq", 1, 2, 0, 0, version, 0, 0, 0, 0, 0, 0)


@contextlib.contextmanager
def driving(server: FakeZooKeeper, kind: str, **purpose: Any) -> Iterator[Driver]:
    of = group(zookeeper.COMPONENT, replicas=1)
    with server.serve() as port:
        driver = running(zookeeper.COMPONENT, of, {"zookeeper-1": port}).driver(of.first, Purpose(kind, **purpose))
        try:
            yield driver
        finally:
            driver.close()


# -- the driver --------------------------------------------------------------------------------------------------------


def test_each_kind_has_a_driver() -> None:
    assert set(zookeeper.COMPONENT.drivers) == set(KINDS)


def test_register() -> None:
    with driving(FakeZooKeeper(), "register") as driver:
        assert driver.call("read", "r/1", None) is None
        driver.call("cas", "r/1", [None, 1])
        with pytest.raises(Unmet):
            driver.call("cas", "r/1", [None, 2])
        driver.call("write", "r/1", 3)
        driver.call("cas", "r/1", [3, 4])
        assert driver.call("read", "r/1", None) == 4


def test_a_value_that_another_one_wrote_meanwhile_is_not_overwritten() -> None:
    server = FakeZooKeeper()
    with driving(server, "register") as driver:
        driver.call("write", "r", 1)

        def write_first(kind: int, path: str) -> None:
            if kind == client.SET_DATA:
                server.tree[path] = (b"9", 7)

        server.before = write_first
        with pytest.raises(Unmet, match="another value"):
            driver.call("cas", "r", [1, 2])
    assert server.tree["/clusterkit/register/r"] == (b"9", 7)


def test_reads_are_synced_unless_they_are_to_be_plain() -> None:
    plain = zookeeper.ZooKeeperWorkload(reads="plain")
    for purpose, synced in (({}, True), ({"options": plain}, False), ({"is_local": True}, False)):
        server = FakeZooKeeper()
        with driving(server, "register", **purpose) as driver:
            driver.call("read", "r", None)
        assert (client.SYNC in {kind for kind, _ in server.asked}) is synced


def test_set_counter_queue_ids_and_bank() -> None:
    server = FakeZooKeeper()
    with driving(server, "set") as driver:
        assert driver.call("read", "s", None) == []
        for element in (4, 5, 6):
            driver.call("add", "s", element)
        driver.call("remove", "s", 5)
        driver.call("remove", "s", 5)
        assert sorted(driver.call("read", "s", None)) == [4, 6]
    with driving(server, "counter") as driver:
        driver.call("add", "c", 2)
        driver.call("add", "c", 3)
        assert driver.call("read", "c", None) == 5
    with driving(server, "queue") as driver:
        assert driver.call("dequeue", "q", None) is None
        driver.call("enqueue", "q", 7)
        driver.call("enqueue", "q", 8)
        assert [driver.call("dequeue", "q", None) for _ in range(3)] == [7, 8, None]
    with driving(server, "ids") as driver:
        assert len({driver.call("generate", "i", None) for _ in range(3)}) == 3
    with driving(server, "bank") as driver:
        driver.call("open", "b", {"a": 5, "b": 5})
        driver.call("transfer", "b", {"from": "a", "to": "b", "amount": 3})
        with pytest.raises(Unmet):
            driver.call("transfer", "b", {"from": "a", "to": "b", "amount": 3})
        assert driver.call("read", "b", None) == {"a": 2, "b": 8}


def test_a_queue_is_empty_only_where_a_list_of_it_is() -> None:
    """Others take all that was listed, and put something in meanwhile: there was an element at every moment."""
    server = FakeZooKeeper()
    with driving(server, "queue") as driver:
        driver.call("enqueue", "q", 1)

        def take_it(kind: int, path: str) -> None:
            if kind == client.DELETE:
                server.before = None
                data = server.tree.pop(path)[0]
                assert data == b"1"
                server.tree[path.rpartition("/")[0] + "/e-0000000009"] = (b"2", 0)

        server.before = take_it
        assert driver.call("dequeue", "q", None) == 2
        assert driver.call("dequeue", "q", None) is None


def test_what_others_take_each_time_is_refused_and_not_empty() -> None:
    server = FakeZooKeeper(fails={client.DELETE: client.NO_NODE})
    with driving(server, "queue") as driver:
        driver.call("enqueue", "q", 1)
        with pytest.raises(Refused, match="others were first"):
            driver.call("dequeue", "q", None)


def test_the_client_writes_reads_and_deletes() -> None:
    of = group(zookeeper.COMPONENT, replicas=1)
    with FakeZooKeeper().serve() as port:
        made = running(zookeeper.COMPONENT, of, {"zookeeper-1": port}).client(of.first)
        with contextlib.closing(made):
            assert made.read("a/b") is None
            made.write("a/b", "1")
            made.write("a/b", "2")
            assert made.read("a/b") == "2"
            made.delete("a/b")
            made.delete("a/b")
            assert made.read("a/b") is None


@pytest.mark.parametrize(("error", "is_refused"), [(-112, True), (-118, True), (-102, True), (-7, False), (-4, False)])
def test_only_what_surely_changed_nothing_is_refused(error: int, is_refused: bool) -> None:
    server = FakeZooKeeper()
    with driving(server, "set") as driver:
        driver.call("add", "s", 1)
        server.fails[client.CREATE] = error
        with pytest.raises(ClientError) as raised:
            driver.call("add", "s", 2)
    assert isinstance(raised.value, Refused) is is_refused


def test_no_answer_to_a_write_is_no_refusal() -> None:
    server = FakeZooKeeper()
    with driving(server, "set") as driver:
        driver.call("add", "s", 1)
        server.fails[client.CREATE] = _SILENT
        with pytest.raises(TimeoutError) as raised:
            driver.call("add", "s", 2)
    assert not isinstance(raised.value, NotSent)


def test_what_cannot_be_read_first_was_never_written() -> None:
    server = FakeZooKeeper(fails={client.GET_DATA: _SILENT})
    with driving(server, "counter") as driver, pytest.raises(NotSent):
        driver.call("add", "c", 1)


def test_of_a_transaction_the_error_of_the_part_that_failed_is_told() -> None:
    said = struct.pack(">i?i", -1, False, -103) + struct.pack(">i", -2)
    said += struct.pack(">i?i", -1, False, -103) + struct.pack(">i", -103) + struct.pack(">i?i", -1, True, -1)
    server = FakeZooKeeper(says_always=said)
    of = group(zookeeper.COMPONENT, replicas=1)
    with server.serve() as port:
        connection = client.connect(running(zookeeper.COMPONENT, of, {"zookeeper-1": port}), of.first)
        with contextlib.closing(connection), pytest.raises(client.ZooKeeperError, match="BadVersion: /b"):
            connection.multi([client.set_data("/a", "1", 3), client.set_data("/b", "2", 4)])


# -- what servers say --------------------------------------------------------------------------------------------------

LOOKS = "This ZooKeeper instance is not currently serving requests"


def says(role: str, zxid: int = 0x200000005, following: int = 2) -> dict[str, str]:
    served = f"Zookeeper version: 3.8.0\nConnections: 1\nOutstanding: 0\nZxid: {zxid:#x}\nMode: {role}\n"
    return {"mntr": f"zk_server_state\t{role}\nzk_synced_followers\t{following}\n", "srvr": served}


LEADS, FOLLOWS = says("leader"), says("follower")
SILENT = {"mntr": LOOKS, "srvr": LOOKS}


@contextlib.contextmanager
def watched(*said: Mapping[str, str]) -> Iterator[Running]:
    of = group(zookeeper.COMPONENT)
    with contextlib.ExitStack() as stack:
        ports = {
            member.name: stack.enter_context(FakeZooKeeper(says=one).serve())
            for member, one in zip(of.members, said, strict=False)
        }
        yield running(zookeeper.COMPONENT, of, ports)


def test_all_is_well() -> None:
    with watched(FOLLOWS, LEADS, FOLLOWS) as seen:
        assert zookeeper.has_one_leader(seen) == {}
        assert zookeeper.read_roles(seen) == {
            "zookeeper-1": (Role("follower", "epoch 2, transaction 5"),),
            "zookeeper-2": (Role("leader", "epoch 2, transaction 5"),),
            "zookeeper-3": (Role("follower", "epoch 2, transaction 5"),),
        }
        assert all(finding.is_ok for finding in zookeeper.examine(seen))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((FOLLOWS, LEADS, SILENT), {"zookeeper-3": LOOKS}),
        ((says("leader", following=1), FOLLOWS, FOLLOWS), {"zookeeper-1": "1 of 2 servers follow it"}),
        ((FOLLOWS, FOLLOWS, FOLLOWS), dict.fromkeys(("zookeeper-1", "zookeeper-2", "zookeeper-3"), "no server leads")),
    ],
)
def test_what_is_not_ready_is_said(said: tuple[Mapping[str, str], ...], expected: dict[str, str]) -> None:
    with watched(*said) as seen:
        assert zookeeper.has_one_leader(seen) == expected


@pytest.mark.parametrize(
    ("zxid", "behind", "is_ok"),
    [(0x200000003, 2002, False), (0x2000007D0, 5, True), (0x100000003, 2005, False)],
)
def test_how_far_a_server_is_behind(zxid: int, behind: int, is_ok: bool) -> None:
    with watched(says("leader", 0x2000007D5), says("follower", zxid), says("follower", 0x2000007D5)) as seen:
        found = next(one for one in zookeeper.examine(seen) if one.node == "zookeeper-2" and "replication" in one.what)
    assert (found.what, found.is_ok) == (f"replication: {behind} transactions behind", is_ok)


def test_an_epoch_without_a_transaction_leaves_nobody_behind() -> None:
    """A new leader is in its epoch at once, a follower by the first transaction."""
    with watched(says("leader", 0x300000000), says("follower", 0x2FFFFFFFF), FOLLOWS) as seen:
        assert all(finding.is_ok for finding in zookeeper.examine(seen))


def test_two_leaders_are_two() -> None:
    with watched(LEADS, LEADS, FOLLOWS) as seen:
        assert set(zookeeper.has_one_leader(seen)) == {"zookeeper-1", "zookeeper-2"}
        assert "leader: zookeeper-1 and zookeeper-2" in [one.what for one in zookeeper.examine(seen) if not one.is_ok]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"settings": {"dataDir": "/x"}}, '"dataDir" is set by clusterkit'),
        ({"settings": {"server.4": "x"}}, '"server.4" is set by clusterkit'),
        ({"settings": {"tickTime": 5}}, '"tickTime" has an option of its own, tick'),
        ({"heap": "8MB"}, "heap is 8MB"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        zookeeper.ZooKeeperOptions.model_validate(given)


def test_the_heap_is_small_unless_it_is_for_production() -> None:
    assert zookeeper.ZooKeeperOptions().heap_mb == 128
    assert zookeeper.ZooKeeperOptions(production=True).heap_mb == 1024
