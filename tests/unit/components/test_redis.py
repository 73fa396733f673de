"""Redis as seen through its protocol: roles, readiness, findings, and the files that it is started with."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from clusterkit.client import ClientError
from clusterkit.components import redis
from clusterkit.components.base import Running
from clusterkit.components.redis_client import RedisClient
from clusterkit.components.registry import Registry
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, plan
from clusterkit.render import tree
from tests.unit.components.node_servers import SECRET, FakeRedis, group, running


def primary(*replicas: str, offset: int = 100) -> list[Any]:
    return ["master", offset, [[address, "6379", "90"] for address in replicas]]


def replica(of: str, link: str = "connected", offset: int = 90) -> list[Any]:
    return ["slave", of, 6379, link, offset]


@contextlib.contextmanager
def serving(*servers: FakeRedis) -> Iterator[Running]:
    """cache-1 and so on, one for each server."""
    of = group(redis.COMPONENT, name="cache", replicas=3)
    with contextlib.ExitStack() as stack:
        ports = {f"cache-{i}": stack.enter_context(server.serve()) for i, server in enumerate(servers, start=1)}
        yield running(redis.COMPONENT, of, ports)


def three(shared: dict[str, str] | None = None, last: list[Any] | None = None) -> tuple[FakeRedis, ...]:
    values = {} if shared is None else shared
    return (
        FakeRedis({"ROLE": replica("192.0.2.12")}, values),
        FakeRedis({"ROLE": primary("192.0.2.11", "192.0.2.13")}, values),
        FakeRedis({"ROLE": last or replica("192.0.2.12", offset=60)}, values),
    )


def test_roles_are_read_live() -> None:
    with serving(*three()) as seen:
        roles = {name: [(role.name, role.detail) for role in held] for name, held in redis.read_roles(seen).items()}
    assert roles == {
        "cache-1": [("replica", "link connected, 10 bytes behind")],
        "cache-2": [("primary", "offset 100, 2 replicas")],
        "cache-3": [("replica", "link connected, 40 bytes behind")],
    }


def test_ready_when_replicas_follow_and_serve() -> None:
    with serving(*three()) as seen:
        assert [condition(seen) for condition in redis.COMPONENT.ready] == [{}, {}, {}]
        assert all(finding.is_ok for finding in redis.examine(seen))


def test_probe_writes_through_the_primary_and_leaves_nothing() -> None:
    shared: dict[str, str] = {}
    servers = three(shared)
    with serving(*servers) as seen:
        assert redis.replicates(seen) == {}
    commands = [[words[0] for words in server.asked if words[0] not in ("AUTH", "ROLE")] for server in servers]
    assert commands == [["GET"], ["SET", "WAIT", "DEL"], ["GET"]]
    assert shared == {}


def test_a_replica_that_does_not_serve_the_value() -> None:
    servers = list(three({}))
    servers[2].values = {}
    with serving(*servers) as seen:
        assert redis.replicates(seen) == {"cache-3": "it does not serve yet what was written through cache-2"}


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (replica("192.0.2.12", "sync"), {"cache-3": "its link to cache-2 is not connected: sync"}),
        (replica("192.0.2.11"), {"cache-3": "it is a replica of cache-1, not of cache-2"}),
        (
            primary(),
            dict.fromkeys(("cache-2", "cache-3"), "there are 2 primaries: cache-2 and cache-3"),
        ),
    ],
)
def test_what_keeps_it_from_one_primary(last: list[Any], expected: dict[str, str]) -> None:
    with serving(*three(last=last)) as seen:
        assert redis.has_one_primary(seen) == expected
        assert not all(finding.is_ok for finding in redis.examine(seen))


def test_no_primary_at_all() -> None:
    with serving(FakeRedis({"ROLE": replica("192.0.2.13")}), FakeRedis({"ROLE": replica("192.0.2.13")})) as seen:
        assert redis.has_one_primary(seen) == dict.fromkeys(("cache-1", "cache-2"), "it is a replica of cache-3")
        assert "primary: none" in [finding.what for finding in redis.examine(seen) if not finding.is_ok]


def test_the_systems_own_words_are_shown() -> None:
    loading = FakeRedis({"PING": Exception("LOADING Redis is loading the dataset in memory")})
    with serving(loading, FakeRedis(password="another")) as seen:
        assert redis.answers_ping(seen) == {
            "cache-1": "PING: LOADING Redis is loading the dataset in memory",
            "cache-2": "PING: WRONGPASS invalid password",
        }


def test_a_server_without_password_takes_ours() -> None:
    with serving(FakeRedis(password="")) as seen:
        assert redis.answers_ping(seen) == {}


def test_client_writes_reads_deletes() -> None:
    with serving(FakeRedis()) as seen:
        client = RedisClient(seen, seen.members[0])
        try:
            client.write("k", "välue\r\n")
            assert client.read("k") == "välue\r\n"
            client.delete("k")
            assert client.read("k") is None
        finally:
            client.close()


def test_a_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it listens, and never answers: as a frozen process does
        seen = running(redis.COMPONENT, group(redis.COMPONENT, replicas=1), {"redis-1": silent.getsockname()[1]})
        assert redis.answers_ping(seen) == {"redis-1": "PING: timed out"}


def test_files_give_the_role_once_and_the_options_always() -> None:
    rendered = dict(_rendered({"maxmemory": "64MB", "settings": {"save": "", "hz": 20}}))
    first, second = rendered["cache-1"], rendered["cache-2"]
    assert first[redis.ROLE_FILE].strip() == ""
    assert second[redis.ROLE_FILE] == "replicaof 10.0.0.11 6379\n"
    lines = second[redis.OPTIONS].splitlines()
    assert f'requirepass "{SECRET}"' in lines
    assert {"maxmemory 67108864", 'save ""', "hz 20", "replica-announce-ip 10.0.0.12"} <= set(lines)
    assert not any(line.startswith("replicaof") for line in lines)


def test_without_password_the_files_say_so() -> None:
    lines = dict(_rendered({"password": False}))["cache-1"][redis.OPTIONS].splitlines()
    assert 'requirepass ""' in lines
    assert f"masterauth {SECRET}" in lines, "a replica must still reach a primary that has a password"


def _rendered(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    spec = ComponentSpec("cache", "redis", redis.RedisOptions.model_validate(options))
    addresses = {name: f"10.0.0.{11 + i}" for i, name in enumerate(spec.node_names)}
    allocation = Allocation("10.0.0.0/24", addresses, secrets={"cache": {"password": SECRET}})
    made = plan(Topology("shop", {"cache": spec}), Registry(), allocation)
    for node in made.nodes:
        yield (
            node.name,
            {file.path: file.content.decode() for file in (*tree.files(made, node), *tree.seeds(made, node))},
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"settings": {"maxmemory": 1}}, "has an option of its own, maxmemory"),
        ({"settings": {"ReplicaOf": "a 1"}}, "is set by clusterkit"),
        ({"settings": {"hz": "1\nport 1"}}, "on one line"),
        ({"min_replicas_max_lag": "1500ms"}, "whole seconds"),
        ({"appendfsync": "never"}, "always"),
        ({"maxmemory": 64}, "needs a unit"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        redis.RedisOptions.model_validate(options)


def test_more_replicas_demanded_than_there_are() -> None:
    spec = ComponentSpec("cache", "redis", redis.RedisOptions(min_replicas_to_write=3))
    misfit = next(iter(redis.COMPONENT.check(spec, {"cache": spec})))
    assert (misfit.option, misfit.mend) == ("min_replicas_to_write", "set it to 2 or less, or replicas to 4 or more")


def test_exports() -> None:
    of = group(redis.COMPONENT, name="cache")
    assert redis.COMPONENT.exports["primary"](of) == "192.0.2.11:6379"
    assert redis.COMPONENT.exports["url"](of) == f"redis://:{SECRET}@192.0.2.11:6379/0"
    assert redis.COMPONENT.exports["url"](group(redis.COMPONENT, {"password": False})) == "redis://192.0.2.11:6379/0"


def test_an_odd_answer_to_role() -> None:
    with serving(FakeRedis({"ROLE": ["sentinel", []]})) as seen:
        _, troubles = redis.look(seen)
    assert "ROLE says" in troubles["cache-1"]


def test_the_servers_error_is_a_client_error() -> None:
    with serving(FakeRedis({"SET": Exception("READONLY You can't write against a read only replica.")})) as seen:
        client = RedisClient(seen, seen.members[0])
        try:
            with pytest.raises(ClientError, match="READONLY"):
                client.write("k", "v")
        finally:
            client.close()


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_clients_find_the_primary_from_wherever_they_begin(turn: int) -> None:
    servers = three()
    with serving(*servers) as seen:
        running_there, member = redis.find_primary(seen, turn)
    assert (running_there, member.name) == (seen, "cache-2")
    first = servers[turn % 3]
    assert first.asked[-1] == ("ROLE",)


def test_clients_find_no_primary_where_nobody_says_so() -> None:
    nobody = FakeRedis({"ROLE": replica("192.0.2.13", link="connect")})
    with serving(nobody, FakeRedis(password="another"), nobody) as seen, pytest.raises(ClientError) as raised:
        redis.find_primary(seen, 1)
    said = str(raised.value)
    assert said.startswith("no node says it is the primary: cache-2: WRONGPASS")
    assert said.endswith("; cache-3 is a replica; cache-1 is a replica")
