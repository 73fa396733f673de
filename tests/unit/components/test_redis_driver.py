"""What Redis' driver makes of the calls of a workload, and of what Redis says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from clusterkit.client import ClientError, Driver, Refused, Unmet
from clusterkit.components import redis
from clusterkit.components.base import KINDS, Purpose
from tests.unit.components.node_servers import FakeRedis, group, running


@contextlib.contextmanager
def driving(server: FakeRedis, kind: str) -> Iterator[Driver]:
    of = group(redis.COMPONENT, name="cache", replicas=1)
    with server.serve() as port:
        driver = running(redis.COMPONENT, of, {"cache-1": port}).driver(of.first, Purpose(kind))
        try:
            yield driver
        finally:
            driver.close()


def test_each_kind_has_a_driver() -> None:
    assert set(redis.COMPONENT.drivers) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "f", "value", "sent", "reply", "result"),
    [
        ("register", "read", None, ("GET", "k"), "7", 7),
        ("register", "write", 7, ("SET", "k", "7"), "OK", None),
        ("set", "add", 7, ("SADD", "k", "7"), 1, None),
        ("set", "remove", 7, ("SREM", "k", "7"), 1, None),
        ("set", "read", None, ("SMEMBERS", "k"), ["7", "8", "7"], [7, 8, 7]),
        ("counter", "add", 7, ("INCRBY", "k", "7"), 9, None),
        ("counter", "read", None, ("GET", "k"), "9", 9),
        ("queue", "enqueue", 7, ("RPUSH", "k", "7"), 1, None),
        ("queue", "dequeue", None, ("LPOP", "k"), "7", 7),
        ("bank", "open", {"0": 10, "1": 20}, ("HSET", "k", "0", "10", "1", "20"), 2, None),
        ("bank", "read", None, ("HGETALL", "k"), ["0", "10", "1", "20"], {"0": 10, "1": 20}),
        ("ids", "generate", None, ("INCR", "k"), 4, 4),
    ],
)
def test_a_call_is_one_command(kind: str, f: str, value: Any, sent: tuple[str, ...], reply: Any, result: Any) -> None:
    server = FakeRedis({sent[0]: reply})
    with driving(server, kind) as driver:
        assert driver.call(f, "k", value) == result
    assert server.asked[1:] == [sent]


@pytest.mark.parametrize(("kind", "f", "result"), [("register", "read", None), ("counter", "read", 0)])
def test_where_nothing_is(kind: str, f: str, result: Any) -> None:
    with driving(FakeRedis(), kind) as driver:
        assert driver.call(f, "k", None) == result


@pytest.mark.parametrize(
    ("kind", "f", "value", "told"),
    [
        ("register", "cas", [1, 2], ("1", "k", "1", "2")),
        ("register", "cas", [None, 2], ("1", "k", "", "2")),
        ("bank", "transfer", {"from": "0", "to": "1", "amount": 5}, ("1", "k", "0", "1", "5")),
    ],
)
def test_conditions_are_scripts(kind: str, f: str, value: Any, told: tuple[str, ...]) -> None:
    server = FakeRedis({"EVAL": 1})
    with driving(server, kind) as driver:
        assert driver.call(f, "k", value) is None
        server.answers["EVAL"] = 0
        with pytest.raises(Unmet):
            driver.call(f, "k", value)
    assert [(words[0], *words[2:]) for words in server.asked[1:]] == [("EVAL", *told)] * 2


@pytest.mark.parametrize(
    "said",
    [
        "READONLY You can't write against a read only replica.",
        "READONLY You can't write against a read only replica. script: 1f, on @user_script:4.",
        "NOREPLICAS Not enough good replicas to write.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "OOM command not allowed when used memory > 'maxmemory'.",
    ],
)
def test_what_redis_surely_did_not_do(said: str) -> None:
    server = FakeRedis({"SADD": Exception(said)})
    with driving(server, "set") as driver, pytest.raises(Refused) as raised:
        driver.call("add", "k", 1)
    assert str(raised.value) == said


@pytest.mark.parametrize("said", ["ERR Error running script", "BUSY Redis is busy running a script."])
def test_when_in_doubt_nobody_knows(said: str) -> None:
    server = FakeRedis({"SADD": Exception(said)})
    with driving(server, "set") as driver, pytest.raises(ClientError) as raised:
        driver.call("add", "k", 1)
    assert not isinstance(raised.value, Refused)


def test_without_a_log_in_there_is_no_driver() -> None:
    with pytest.raises(ClientError, match="WRONGPASS"), driving(FakeRedis(password="another"), "set"):
        pytest.fail("it logged in")
