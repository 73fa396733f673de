"""What etcd's driver makes of the calls of a workload, and of what etcd says: when in doubt, nobody knows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.clock import Clock, Deadline
from clusterkit.components import etcd, etcd_driver
from clusterkit.components.base import KINDS, Purpose
from tests.unit.components.node_servers import FakeEtcd, group, running

Answer = tuple[int, dict[str, Any]]


@contextlib.contextmanager
def driving(server: FakeEtcd, kind: str, **purpose: Any) -> Iterator[Driver]:
    of = group(etcd.COMPONENT, name="registry", replicas=1)
    with server.serve() as port:
        driver = running(etcd.COMPONENT, of, {"registry-1": port}).driver(of.first, Purpose(kind, **purpose))
        try:
            yield driver
        finally:
            driver.close()


def once(path: str, do: Callable[[], Answer | None]) -> Callable[[str], Answer | None]:
    """What happens right before the first request of this path."""
    left = [do]
    return lambda asked: left.pop()() if left and asked == path else None


def says(path: str, message: str, status: int = 503) -> Callable[[str], Answer | None]:
    return lambda asked: (status, {"message": message}) if asked == path else None


def test_each_kind_has_a_driver() -> None:
    assert set(etcd.COMPONENT.drivers) == set(KINDS)


def test_register() -> None:
    with driving(FakeEtcd(), "register") as driver:
        assert driver.call("read", "k", None) is None
        driver.call("cas", "k", [None, 1])
        with pytest.raises(Unmet):
            driver.call("cas", "k", [None, 2])
        driver.call("write", "k", 3)
        driver.call("cas", "k", [3, 4])
        with pytest.raises(Unmet):
            driver.call("cas", "k", [3, 5])
        assert driver.call("read", "k", None) == 4


def test_a_set_reads_its_own_elements_and_all_of_them() -> None:
    server = FakeEtcd()
    with driving(server, "set") as driver:
        for element in (1, 2, 30):
            driver.call("add", "k", element)
        driver.call("remove", "k", 2)
        driver.call("add", "k0", 7)
        assert driver.call("read", "k", None) == [1, 30]
    assert set(server.values) == {"k/1", "k/30", "k0/7"}


def test_a_counter_adds_to_what_another_client_added_meanwhile() -> None:
    server = FakeEtcd()
    server.before = once("/v3/kv/txn", lambda: server.write("k", "10"))
    with driving(server, "counter") as driver:
        assert driver.call("read", "k", None) == 0
        driver.call("add", "k", 5)
        assert driver.call("read", "k", None) == 15
    assert server.asked.count("/v3/kv/txn") == 2


def test_a_queue_gives_the_oldest_first_and_leaves_what_another_client_took() -> None:
    server = FakeEtcd()
    with driving(server, "queue") as driver:
        for element in (9, 3, 5):
            driver.call("enqueue", "k", element)
        server.before = once("/v3/kv/txn", lambda: server.remove("k/9"))
        assert [driver.call("dequeue", "k", None) for _ in range(3)] == [3, 5, None]


def test_a_bank_moves_money_at_once_and_makes_no_debt() -> None:
    server = FakeEtcd()
    with driving(server, "bank") as driver:
        driver.call("open", "k", {"0": 10, "1": 20})
        driver.call("transfer", "k", {"from": "0", "to": "1", "amount": 4})
        with pytest.raises(Unmet, match="account 0 has 6"):
            driver.call("transfer", "k", {"from": "0", "to": "1", "amount": 7})
        server.before = once("/v3/kv/txn", lambda: server.write("k/0", "100"))
        driver.call("transfer", "k", {"from": "0", "to": "1", "amount": 1})
        assert driver.call("read", "k", None) == {"0": 99, "1": 25}


def test_ids_are_revisions() -> None:
    with driving(FakeEtcd(), "ids") as driver:
        found = [driver.call("generate", "k", None) for _ in range(3)]
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("purpose", "of_member"),
    [({}, False), ({"options": etcd.EtcdWorkload(reads="serializable")}, True), ({"is_local": True}, True)],
)
def test_how_reads_are_asked_for(purpose: dict[str, Any], of_member: bool) -> None:
    for kind in ("register", "set", "counter", "bank"):
        server = FakeEtcd()
        with driving(server, kind, **purpose) as driver:
            driver.call("read", "k", None)
        assert server.serializable == [of_member]


@pytest.mark.parametrize(
    "message",
    ["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable"],
)
def test_what_etcd_surely_did_not_do(message: str) -> None:
    server = FakeEtcd(before=says("/v3/kv/put", message))
    with driving(server, "register") as driver, pytest.raises(Refused, match=message):
        driver.call("write", "k", 1)


@pytest.mark.parametrize(
    "message",
    [
        "etcdserver: request timed out",
        "etcdserver: request timed out, possibly due to previous leader failure",
        "etcdserver: leader changed",
        "etcdserver: server stopped",
        "etcdserver: mvcc: database space exceeded",
        "raft proposal dropped",
    ],
)
@pytest.mark.parametrize(
    ("kind", "path", "f", "value"),
    [
        ("register", "put", "write", 1),
        ("register", "txn", "cas", [None, 1]),
        ("set", "put", "add", 1),
        ("counter", "txn", "add", 1),
        ("queue", "put", "enqueue", 1),
        ("bank", "txn", "transfer", {"from": "0", "to": "1", "amount": 0}),
    ],
)
def test_what_nobody_knows_is_not_tried_again(message: str, kind: str, path: str, f: str, value: Any) -> None:
    server = FakeEtcd(before=says(f"/v3/kv/{path}", message))
    with driving(server, kind) as driver, pytest.raises(ClientError, match=message) as raised:
        driver.call(f, "k", value)
    assert not isinstance(raised.value, Refused)
    assert server.asked.count(f"/v3/kv/{path}") == 1


@pytest.mark.parametrize(
    ("kind", "f", "value"),
    [("counter", "add", 1), ("queue", "dequeue", None), ("bank", "transfer", {"from": "0", "to": "1", "amount": 1})],
)
def test_nothing_is_written_after_a_look_that_failed(kind: str, f: str, value: Any) -> None:
    server = FakeEtcd(before=says("/v3/kv/range", "etcdserver: request timed out"))
    with driving(server, kind) as driver, pytest.raises(NotSent, match="request timed out"):
        driver.call(f, "k", value)
    assert "/v3/kv/txn" not in server.asked


def test_who_is_never_quick_enough_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server, now_s = FakeEtcd(), [0.0]

    def another(asked: str) -> None:
        if asked == "/v3/kv/txn":
            server.write("k", "1")
            now_s[0] += 0.1

    server.before = another
    clock = Clock(monotonic=lambda: now_s[0])
    monkeypatch.setattr(etcd_driver, "Deadline", lambda seconds: Deadline(seconds, clock))
    with driving(server, "counter") as driver, pytest.raises(Refused, match="others wrote first"):
        driver.call("add", "k", 1)
    assert server.asked.count("/v3/kv/txn") == 3  # of 0.5 s, 0.3 s are gone


def test_without_a_log_in_nothing_was_asked() -> None:
    server = FakeEtcd(users={"root": "another"})
    with driving(server, "register") as driver, pytest.raises(Refused, match="no log-in"):
        driver.call("write", "k", 1)
    assert server.values == {}


def test_nobody_listens() -> None:
    with driving(FakeEtcd(), "register") as driver:
        pass
    with pytest.raises((NotSent, ConnectionRefusedError)):
        driver.call("write", "k", 1)
