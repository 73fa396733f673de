"""Redis Cluster: how slots and replicas are laid out, what nodes say of each other, where clients are sent on to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.components import redis_cluster
from clusterkit.components.base import KINDS, Member, Purpose, Running
from clusterkit.components.redis_cluster_client import ClusterConnection
from clusterkit.components.registry import Registry
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, Plan, plan
from clusterkit.render import tree
from tests.unit.components.node_servers import FakeRedis, group, running

SIX = group(redis_cluster.COMPONENT, replicas=6, name="store")


def line(index: int, flags: str, *more: str, master: str = "-", link: str = "connected") -> str:
    port = f"192.0.2.{10 + index}:6379@16379"
    return " ".join([f"{index:040x}", port, flags, master, "0", "0", str(index), link, *more])


SLOTS = {1: "0-5460", 2: "5461-10922", 3: "10923-16383"}


def seen_by(own: int, lost: Sequence[int] = (), without: Sequence[int] = ()) -> str:
    """CLUSTER NODES of three primaries and their replicas, as one of them says it."""
    lines = []
    for index in range(1, 7):
        flags = ["myself"] if index == own else []
        flags += ["master"] if index in SLOTS else ["slave"]
        flags += ["fail"] if index in lost else []
        master = "-" if index in SLOTS else f"{index % 3 + 1:040x}"
        if index not in without:
            lines.append(line(index, ",".join(flags), *([SLOTS[index]] if index in SLOTS else []), master=master))
    return "\n".join(lines)


@contextlib.contextmanager
def serving(*said: str, **answers: Any) -> Iterator[Running]:
    """store-1 and so on, each of which says this of all."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for member, text in zip(SIX.members, said, strict=False):
            role: Any = ["master", 1, []] if member.index in SLOTS else ["slave", "192.0.2.11", 6379, "connected", 1]
            fake = FakeRedis(
                {"CLUSTER NODES": text, "ROLE": answers.get(member.name.replace("-", "_"), role), "DBSIZE": 7}
            )
            fake.answers["INFO"] = "used_memory:1\r\nused_memory_human:1.50M\r\n"
            ports[member.name] = stack.enter_context(fake.serve())
        yield running(redis_cluster.COMPONENT, SIX, ports)


# -- the layout --------------------------------------------------------------------------------------------------------


def test_slots_are_split_evenly_and_none_is_left_out() -> None:
    for masters in (3, 5, 7):
        options = redis_cluster.RedisClusterOptions(masters=masters)
        places = options.places(group(redis_cluster.COMPONENT, replicas=2 * masters).members)
        ranges = [place.slots for place in places if place.slots]
        assert [slot for first, last in ranges for slot in range(first, last + 1)] == list(range(16384))
        counts = [last - first + 1 for first, last in ranges]
        assert max(counts) - min(counts) <= 1


def test_a_replica_is_in_another_zone_than_its_primary() -> None:
    places = SIX.options.places(SIX.members)
    zones = {place.id: place.member.zone for place in places}
    copies = [(place.member.zone, zones[place.copies]) for place in places if place.copies]
    assert len(copies) == 3
    assert all(own != its for own, its in copies)


def test_nodes_know_each_other_before_they_have_met() -> None:
    spec = ComponentSpec("store", "redis-cluster", redis_cluster.RedisClusterOptions(), replicas=6)
    planned = rendered(spec)
    seeds = {
        node.name: next(file.content.decode() for file in tree.seeds(planned, node) if file.path == redis_cluster.NODES)
        for node in planned.nodes
    }
    own = redis_cluster.parse("\n".join(one for one in seeds["store-5"].splitlines() if not one.startswith("vars")))
    assert len(own) == 6
    assert sum(one.count for one in own.values()) == 16384
    assert next(one for one in own.values() if "myself" in one.flags).master == f"{3:040x}"
    assert seeds["store-1"].splitlines()[-1] == "vars currentEpoch 3 lastVoteEpoch 0"


def test_who_joins_later_knows_nobody() -> None:
    spec = ComponentSpec("store", "redis-cluster", redis_cluster.RedisClusterOptions(), replicas=4)
    planned = rendered(spec, founders={"store": ("store-1", "store-2", "store-3")})
    seeds = tree.seeds(planned, next(node for node in planned.nodes if node.name == "store-4"))
    assert [file.content.strip() for file in seeds if file.path == redis_cluster.NODES] == [b""]


def rendered(spec: ComponentSpec, **more: Any) -> Plan:
    topology = Topology(name="shop", components={"store": spec})
    names = [f"store-{index}" for index in range(1, spec.replicas + 1)]
    allocation = Allocation(
        subnet="192.0.2.0/24",
        addresses={name: f"192.0.2.{10 + index}" for index, name in enumerate(names, start=1)},
        host_ports={name: {"client": 20000 + index} for index, name in enumerate(names)},
        secrets={"store": {"password": "s3cret"}},
        **more,
    )
    return plan(topology, Registry(), allocation)


def test_fewer_nodes_than_primaries_do_not_fit() -> None:
    spec = ComponentSpec("store", "redis-cluster", redis_cluster.RedisClusterOptions(masters=4), replicas=3)
    misfit = next(iter(redis_cluster.COMPONENT.check(spec, {"store": spec})))
    assert misfit.what == "masters is 4, but there are 3 nodes"


# -- what nodes say ----------------------------------------------------------------------------------------------------


def test_all_is_well() -> None:
    with serving(*(seen_by(index) for index in range(1, 7))) as seen:
        assert redis_cluster.is_whole(seen) == {}
        roles = {name: (held[0].name, held[0].detail) for name, held in redis_cluster.read_roles(seen).items()}
        findings = list(redis_cluster.examine(seen))
    assert roles["store-2"] == ("primary", "slots 5461-10922, 33%")
    assert roles["store-4"] == ("replica", "of store-2")
    assert all(finding.is_ok for finding in findings)
    split = next(finding.what for finding in findings if finding.node == "store-1")
    assert split == "data: slots 0-5460, 33%; 7 keys, 33% of the keys; memory 1.50M; copied by store-6"


def test_a_node_that_is_lost_leaves_slots_without_one() -> None:
    with serving(*(seen_by(index, lost=[1]) for index in range(1, 7))) as seen:
        assert redis_cluster.is_whole(seen)["store-2"] == "it takes store-1 for failed"
        assert any("failed" in finding.what for finding in redis_cluster.examine(seen) if not finding.is_ok)


def test_who_has_not_met_all_others_is_not_ready() -> None:
    with serving(seen_by(1, without=[5]), *(seen_by(index) for index in range(2, 7))) as seen:
        assert redis_cluster.is_whole(seen) == {"store-1": "it knows 5 nodes of 6"}


def test_a_replica_that_has_lost_its_primary_is_not_ready() -> None:
    lost = ["slave", "192.0.2.12", 6379, "connect", 1]
    with serving(*(seen_by(index) for index in range(1, 7)), store_4=lost) as seen:
        assert redis_cluster.is_whole(seen) == {"store-4": "its link to its primary is connect"}


# -- clients -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def two(first: FakeRedis, second: FakeRedis) -> Iterator[Running]:
    with first.serve() as one, second.serve() as other:
        yield running(redis_cluster.COMPONENT, SIX, {"store-1": one, "store-2": other})


def call(seen: Running, f: str, value: Any, **purpose: Any) -> Any:
    """By a client that begins at store-1."""
    with contextlib.closing(seen.driver(SIX.members[0], Purpose("register", **purpose))) as driver:
        return driver.call(f, "k", value)


def moved(to: int) -> Exception:
    return Exception(f"MOVED 5461 192.0.2.{10 + to}:6379")


def test_each_kind_has_a_driver() -> None:
    assert set(redis_cluster.COMPONENT.drivers) == set(KINDS)


def test_a_client_goes_where_it_is_sent_and_remembers() -> None:
    first, second = FakeRedis({"GET": moved(2)}), FakeRedis(values={"k": "5"})
    with two(first, second) as seen, contextlib.closing(seen.driver(SIX.members[0], Purpose("register"))) as driver:
        assert [driver.call("read", "k", None) for _ in range(3)] == [5, 5, 5]
    assert sum(words[0] == "GET" for words in first.asked) == 1


def test_a_slot_on_its_way_is_asked_for_once() -> None:
    first, second = FakeRedis({"GET": Exception("ASK 5461 192.0.2.12:6379")}), FakeRedis({"ASKING": "OK"}, {"k": "5"})
    with two(first, second) as seen, contextlib.closing(ClusterConnection(seen, SIX.members[0])) as connection:
        assert connection.ask("GET", "k") == "5"
        assert connection.ask("GET", "k") == "5"
    assert sum(words[0] == "GET" for words in first.asked) == 2


def test_a_script_is_sent_on_by_its_key() -> None:
    first, second = FakeRedis({"EVAL": moved(2)}), FakeRedis({"EVAL": 1})
    with two(first, second) as seen, contextlib.closing(seen.driver(SIX.members[0], Purpose("register"))) as driver:
        driver.call("cas", "k", [None, 1])
        driver.call("cas", "k", [1, 2])
    assert sum(words[0] == "EVAL" for words in first.asked) == 1


def test_nothing_was_sent_to_whom_cannot_be_reached() -> None:
    with two(FakeRedis({"SET": moved(3)}), FakeRedis()) as seen, pytest.raises(NotSent, match="store-3"):
        call(seen, "write", 1)


def test_a_circle_ends() -> None:
    first, second = FakeRedis({"SET": moved(2)}), FakeRedis({"SET": moved(1)})
    with two(first, second) as seen, pytest.raises(Refused, match="sent on 5 times"):
        call(seen, "write", 1)


@pytest.mark.parametrize("said", ["CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys"])
def test_what_a_cluster_that_is_down_says_is_a_refusal(said: str) -> None:
    with two(FakeRedis({"SET": Exception(said)}), FakeRedis()) as seen, pytest.raises(Refused):
        call(seen, "write", 1)


def test_a_peek_reads_what_a_replica_has_itself() -> None:
    first = FakeRedis({"READONLY": "OK"}, {"k": "5"})
    with two(first, FakeRedis()) as seen:
        assert call(seen, "read", None, is_local=True) == 5
    assert ("READONLY",) in first.asked


# -- members -----------------------------------------------------------------------------------------------------------


def test_a_new_node_meets_the_others_first() -> None:
    said = [*(seen_by(index, without=[6]) for index in range(1, 6)), line(6, "myself,master")]
    fakes = [FakeRedis({"CLUSTER NODES": one, "CLUSTER MEET": "OK"}) for one in said]
    with contextlib.ExitStack() as stack:
        ports = {
            member.name: stack.enter_context(fake.serve()) for member, fake in zip(SIX.members, fakes, strict=True)
        }
        seen = running(redis_cluster.COMPONENT, SIX, ports)
        with pytest.raises(ClientError, match="store-6 meets the others"):
            redis_cluster.settle(seen)
    assert ("CLUSTER", "MEET", "192.0.2.16", "6379") in fakes[0].asked


@pytest.mark.parametrize("step", [redis_cluster.step_down, redis_cluster.release])
def test_a_replica_takes_the_place_of_a_primary_first(step: Callable[[Running, Member], None]) -> None:
    fakes = [FakeRedis({"CLUSTER NODES": seen_by(index), "CLUSTER FAILOVER": "OK"}) for index in range(1, 7)]
    with contextlib.ExitStack() as stack:
        ports = {
            member.name: stack.enter_context(fake.serve()) for member, fake in zip(SIX.members, fakes, strict=True)
        }
        seen = running(redis_cluster.COMPONENT, SIX, ports)
        with pytest.raises(ClientError, match="store-6 takes the place of store-1"):
            step(seen, SIX.members[0])
        step(seen, SIX.members[3])
    assert [("CLUSTER", "FAILOVER") in fake.asked for fake in fakes] == [False] * 5 + [True]


def test_who_is_gone_is_forgotten_by_all() -> None:
    five = group(redis_cluster.COMPONENT, replicas=5, name="store")
    fakes = [FakeRedis({"CLUSTER NODES": seen_by(index), "CLUSTER FORGET": "OK"}) for index in range(1, 6)]
    with contextlib.ExitStack() as stack:
        ports = {
            member.name: stack.enter_context(fake.serve()) for member, fake in zip(five.members, fakes, strict=True)
        }
        redis_cluster.settle(running(redis_cluster.COMPONENT, five, ports))
    assert all(("CLUSTER", "FORGET", f"{6:040x}") in fake.asked for fake in fakes)
