"""Sentinels as seen through their protocol: what they agree on, and the files that they are started with."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterkit.client import ClientError
from clusterkit.components import redis, redis_sentinel
from clusterkit.components.base import Running
from clusterkit.components.registry import Registry
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, Plan, plan
from clusterkit.render import tree
from tests.unit.components.node_servers import SECRET, FakeRedis, group, running

OK = "OK 3 usable Sentinels. Quorum and failover authorization can be reached"


def instance(address: str, port: int, flags: str) -> list[str]:
    return ["name", "x", "ip", address, "port", str(port), "flags", flags]


def sentinel(index: int, primary: str = "192.0.2.11", **more: Any) -> FakeRedis:
    peers = [instance(f"192.0.2.{10 + i}", 26379, more.get("flags", "sentinel")) for i in (1, 2, 3) if i != index]
    replicas = [instance(f"192.0.2.{10 + i}", 6379, "slave") for i in (2, 3)]
    return FakeRedis(
        {
            "SENTINEL GET-MASTER-ADDR-BY-NAME": [primary, "6379"],
            "SENTINEL CKQUORUM": more.get("verdict", OK),
            "SENTINEL SENTINELS": peers[: more.get("peers", 2)],
            "SENTINEL REPLICAS": replicas[: more.get("replicas", 2)],
        }
    )


@contextlib.contextmanager
def serving(*sentinels: FakeRedis, is_primary: bool = True) -> Iterator[Running]:
    """sentinel-1 and so on, which watch cache-1 to 3; only cache-1 runs."""
    cache = group(redis.COMPONENT, name="cache")
    of = group(redis_sentinel.COMPONENT, {"watches": "cache"}, name="sentinel", needs={"cache": cache})
    first = FakeRedis({"ROLE": ["master", 1, []] if is_primary else ["slave", "192.0.2.12", 6379, "connected", 1]})
    with contextlib.ExitStack() as stack:
        watched = running(redis.COMPONENT, cache, {"cache-1": stack.enter_context(first.serve())})
        ports = {f"sentinel-{i}": stack.enter_context(one.serve()) for i, one in enumerate(sentinels, start=1)}
        yield running(redis_sentinel.COMPONENT, of, ports, {"cache": watched})


def test_ready_when_all_agree() -> None:
    with serving(*map(sentinel, (1, 2, 3))) as seen:
        assert redis_sentinel.agrees(seen) == {}
        assert all(finding.is_ok for finding in redis_sentinel.examine(seen))
        roles = redis_sentinel.read_roles(seen)
    assert [(role.name, role.detail) for role in roles["sentinel-3"]] == [("sentinel", "primary cache-1")]


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"verdict": Exception("NOQUORUM 1 usable Sentinels")}, "CKQUORUM: NOQUORUM 1 usable Sentinels"),
        ({"peers": 1}, "it knows 1 other sentinels of 2"),
        ({"replicas": 0}, "it knows 0 replicas of 2"),
        ({"flags": "sentinel,disconnected"}, "it has no link to sentinel-1 and sentinel-2"),
    ],
)
def test_what_keeps_one_from_ready(odd: dict[str, Any], said: str) -> None:
    with serving(sentinel(1), sentinel(2), sentinel(3, **odd)) as seen:
        assert redis_sentinel.agrees(seen) == {"sentinel-3": said}


def test_a_peer_that_misses_the_primary_is_not_lost() -> None:
    with serving(sentinel(1, flags="sentinel,master_down"), sentinel(2), sentinel(3)) as seen:
        assert redis_sentinel.agrees(seen) == {}


def test_disagreement_is_found() -> None:
    with serving(sentinel(1), sentinel(2), sentinel(3, primary="192.0.2.12")) as seen:
        assert set(redis_sentinel.agrees(seen)) == {"sentinel-1", "sentinel-2", "sentinel-3"}
        wrong = {finding.node: finding.what for finding in redis_sentinel.examine(seen) if not finding.is_ok}
    assert wrong["sentinel-1"] == "primary: it names cache-1; they disagree"
    assert wrong["sentinel-3"] == "primary: it names cache-2; they disagree"


def test_the_node_itself_is_heard_too() -> None:
    with serving(*map(sentinel, (1, 2, 3)), is_primary=False) as seen:
        wrong = [finding.what for finding in redis_sentinel.examine(seen) if not finding.is_ok]
    assert wrong == ["primary: all name cache-1, which says it is a replica"]


def _planned(options: dict[str, Any], replicas: int = 3) -> Plan:
    made = redis_sentinel.SentinelOptions.model_validate({"watches": "cache", **options})
    specs = {
        "cache": ComponentSpec("cache", "redis", redis.RedisOptions()),
        "sentinel": ComponentSpec("sentinel", "redis-sentinel", made, replicas),
    }
    names = [name for spec in specs.values() for name in spec.node_names]
    addresses = {name: f"10.0.0.{11 + i}" for i, name in enumerate(names)}
    secrets = {name: {"password": f"{SECRET}-{name}"} for name in specs}
    return plan(Topology("shop", specs), Registry(), Allocation("10.0.0.0/24", addresses, secrets=secrets))


def test_files_tell_at_birth_what_a_sentinel_would_find_out() -> None:
    made = _planned({"down_after": "1500ms", "settings": {"loglevel": "verbose"}})
    node = made.node("sentinel-2")
    seed = tree.seeds(made, node)[0].content.decode().splitlines()
    assert seed == [
        f"sentinel myid {2:040d}",
        "sentinel monitor cache 10.0.0.11 6379 2",
        "sentinel known-replica cache 10.0.0.12 6379",
        "sentinel known-replica cache 10.0.0.13 6379",
        f"sentinel known-sentinel cache 10.0.0.14 26379 {1:040d}",
        f"sentinel known-sentinel cache 10.0.0.16 26379 {3:040d}",
    ]
    options = tree.files(made, node)
    lines = next(file.content.decode() for file in options if file.path == redis_sentinel.OPTIONS).splitlines()
    assert {
        "sentinel down-after-milliseconds cache 1500",
        f"sentinel auth-pass cache {SECRET}-cache",
        f"sentinel sentinel-pass {SECRET}-sentinel",
        "loglevel verbose",
    } <= set(lines)


def test_start_keeps_what_was_found_out_and_takes_the_new_quorum(tmp_path: Path) -> None:
    """The script as it is, on a file as Sentinel rewrites it, with a server that only shows it."""
    state = tmp_path / "sentinel.conf"
    kept = [
        f"sentinel myid {2:040d}",
        "sentinel monitor cache 10.0.0.13 6379 2",
        "sentinel config-epoch cache 1",
        "sentinel known-replica cache 10.0.0.12 6379",
        "sentinel current-epoch 1",
    ]
    dropped = ["# Generated by CONFIG REWRITE", "requirepass old", "sentinel down-after-milliseconds cache 9", ""]
    state.write_text("\n".join([*dropped, *kept]) + "\n")
    planned = _planned({"quorum": 3})
    node = planned.node("sentinel-1")
    options = tmp_path / "options.conf"
    options.write_bytes(next(file.content for file in tree.files(planned, node) if file.path == redis_sentinel.OPTIONS))
    assert node.command is not None
    script = node.command[-1].replace(redis_sentinel.STATE_FILE, str(state)).replace("exec redis-sentinel", "exec echo")
    script = script.replace(redis_sentinel.OPTIONS, str(options))
    ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert state.read_text().splitlines() == [kept[0], "sentinel monitor cache 10.0.0.13 6379 3", *kept[2:]]
    assert ended.stdout.split() == [str(state), "--include", str(options)]


def test_misfits() -> None:
    specs = dict(_planned({"quorum": 4}).topology.components)
    assert [misfit.option for misfit in redis_sentinel.COMPONENT.check(specs["sentinel"], specs)] == ["quorum"]
    specs["sentinel"] = ComponentSpec("sentinel", "redis-sentinel", redis_sentinel.SentinelOptions(watches="sentinel"))
    misfit = next(iter(redis_sentinel.COMPONENT.check(specs["sentinel"], specs)))
    assert misfit.what == 'watches names "sentinel", which is of kind redis-sentinel; sentinels watch a redis'
    assert misfit.mend == "name one of kind redis: cache"


def test_clients_follow_the_sentinels_to_the_primary() -> None:
    with serving(*map(sentinel, (1, 2, 3))) as seen:
        found, member = redis_sentinel.find_primary(seen, 1)
        assert found is seen.needs["cache"]
    assert member.name == "cache-1"


def test_clients_ask_the_next_sentinel_where_one_is_wrong() -> None:
    sentinels = [sentinel(1, primary="192.0.2.99"), sentinel(2), sentinel(3)]
    with serving(*sentinels) as seen:
        assert redis_sentinel.find_primary(seen, 0)[1].name == "cache-1"
    assert [bool(one.asked) for one in sentinels] == [True, True, False]


def test_clients_take_nobody_for_the_primary_who_does_not_say_so() -> None:
    with serving(*map(sentinel, (1, 2, 3)), is_primary=False) as seen, pytest.raises(ClientError) as raised:
        redis_sentinel.find_primary(seen, 0)
    assert str(raised.value).count("names cache-1, which is no primary") == 3


def test_a_primary_steps_down_only_when_nothing_would_be_lost() -> None:
    """Its writes pause, its replicas get all of them, the sentinels choose, and it follows the one they chose."""
    first, second = FakeRedis({"CLIENT": "OK", "REPLICAOF": "OK", "CONFIG": "OK"}), FakeRedis()
    first.answers["ROLE"] = ["master", 120, []]
    second.answers["ROLE"] = ["slave", "192.0.2.11", 6379, "connected", 100]
    sentinels = [sentinel(i) for i in (1, 2, 3)]
    for one in sentinels:
        one.answers["SENTINEL FAILOVER"] = "OK"
    cache = group(redis.COMPONENT, name="cache")
    of = group(redis_sentinel.COMPONENT, {"watches": "cache"}, name="sentinel", needs={"cache": cache})
    with contextlib.ExitStack() as stack:
        ports = {f"cache-{i}": stack.enter_context(one.serve()) for i, one in ((1, first), (2, second))}
        watched = running(redis.COMPONENT, cache, ports)
        ports = {f"sentinel-{i}": stack.enter_context(one.serve()) for i, one in enumerate(sentinels, start=1)}
        seen = running(redis_sentinel.COMPONENT, of, ports, {"cache": watched})

        redis_sentinel.step_down(seen, cache.members[1])
        assert not any(words[0] == "CLIENT" for words in first.asked + second.asked), "a replica leads nothing"

        with pytest.raises(ClientError, match="cache-2 must first have all that cache-1 has"):
            redis_sentinel.step_down(seen, cache.members[0])
        assert ("CLIENT", "PAUSE", "5000", "WRITE") in first.asked
        assert not any("FAILOVER" in words for one in sentinels for words in one.asked)

        second.answers["ROLE"][4] = 120
        with pytest.raises(ClientError, match="the sentinels choose another primary than cache-1"):
            redis_sentinel.step_down(seen, cache.members[0])
        assert ("SENTINEL", "FAILOVER", "cache") in sentinels[0].asked

        second.answers["ROLE"] = ["master", 120, []]
        sentinels[0].answers["SENTINEL GET-MASTER-ADDR-BY-NAME"] = ["192.0.2.12", "6379"]
        redis_sentinel.step_down(seen, cache.members[0])
    told = [words for words in first.asked if words[0] in ("REPLICAOF", "CONFIG") or "UNPAUSE" in words]
    assert told == [("REPLICAOF", "192.0.2.12", "6379"), ("CONFIG", "REWRITE"), ("CLIENT", "UNPAUSE")]


def test_where_no_sentinel_runs_nobody_steps_down() -> None:
    first = FakeRedis({"ROLE": ["master", 1, []]})
    cache = group(redis.COMPONENT, name="cache")
    of = group(redis_sentinel.COMPONENT, {"watches": "cache"}, name="sentinel", needs={"cache": cache})
    with first.serve() as port:
        watched = running(redis.COMPONENT, cache, {"cache-1": port})
        redis_sentinel.step_down(running(redis_sentinel.COMPONENT, of, {}, {"cache": watched}), cache.members[0])
    assert not any(words[0] == "CLIENT" for words in first.asked)
