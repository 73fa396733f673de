"""Same topology and allocation, same plan; what a node has, it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from clusterkit.components.base import Component, Group, Member, Options, Port
from clusterkit.components.registry import Registry
from clusterkit.errors import EnvironmentTrouble
from clusterkit.model.image import Install, Pull
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, allocate, exports, plan

STORE = Component(
    kind="store",
    version="1",
    summary="a store",
    ports={"client": Port(7000), "peer": Port(7001, publish=False)},
    command=("stored", "--name", "{{ node.name }}"),
    secrets=("password",),
    exports={"password": lambda group: group.secrets["password"]},
    data="/var/lib/store",
    hosts=True,
)


def _watcher_command(group: Group, member: Member) -> tuple[str, ...]:
    return ("watch", group.needs["db"].at("client"), str(member.index))


WATCHER = Component(
    kind="watcher",
    version="1",
    summary="watches a store",
    ports={},
    command=_watcher_command,
    depends_on=lambda _options: ("db",),
)


def _registry() -> Registry:
    return Registry(components=[STORE, WATCHER])


def _topology(**changes: Mapping[str, Any]) -> Topology:
    bodies: dict[str, dict[str, Any]] = {
        "db": {"kind": "store"},
        "eye": {"kind": "watcher", "environment": {"DB": "{{ components.db.endpoints }}"}},
    }
    made = {
        name: ComponentSpec(name=name, options=Options(), **body, **changes.get(name, {}))
        for name, body in bodies.items()
    }
    return Topology(name="shop", components=made)


def _allocation(topology: Topology, known: Allocation | None = None, ports: Iterator[int] | None = None) -> Allocation:
    numbers = count(1)
    return allocate(
        topology,
        _registry(),
        "10.9.8.0/24",
        known or Allocation("10.9.8.0/24"),
        ports or iter(range(20000, 20100)),
        lambda: f"secret-{next(numbers)}",
    )


def test_three_of_each_one_in_each_zone() -> None:
    topology = _topology()
    planned = plan(topology, _registry(), _allocation(topology))
    assert [(node.name, node.member.zone) for node in planned.nodes] == [
        ("db-1", "a"), ("db-2", "b"), ("db-3", "c"), ("eye-1", "a"), ("eye-2", "b"), ("eye-3", "c"),
    ]  # fmt: skip
    assert planned.order == {"db": (), "eye": ("db",)}


def test_commands_and_environment_see_addresses() -> None:
    topology = _topology()
    planned = plan(topology, _registry(), _allocation(topology))
    endpoints = "10.9.8.11:7000,10.9.8.12:7000,10.9.8.13:7000"
    assert planned.node("db-2").command == ("stored", "--name", "db-2")
    assert planned.node("eye-1").command == ("watch", endpoints, "1")
    assert planned.node("eye-3").environment == {"DB": endpoints}
    assert planned.node("db-1").hosts == {"db-2": "10.9.8.12", "db-3": "10.9.8.13"}


def test_equal_input_gives_an_equal_plan() -> None:
    topology = _topology()
    allocation = _allocation(topology)
    assert plan(topology, _registry(), allocation) == plan(_topology(), _registry(), allocation)


def test_only_published_ports_get_one_on_the_host() -> None:
    assert _allocation(_topology()).host_ports["db-1"] == {"client": 20000}


def test_pinned_ports_follow_each_other() -> None:
    allocation = _allocation(_topology(db={"publish": {"client": 15000}}))
    assert [allocation.host_ports[f"db-{index}"]["client"] for index in (1, 2, 3)] == [15000, 15001, 15002]


def test_what_is_known_stays_when_replicas_are_added() -> None:
    before = _allocation(_topology())
    after = _allocation(_topology(db={"replicas": 4}), before, iter([21000]))
    assert {name: after.addresses[name] for name in before.addresses} == before.addresses
    assert after.addresses["db-4"] == "10.9.8.17"
    assert after.host_ports["db-1"] == before.host_ports["db-1"]
    assert after.host_ports["db-4"] == {"client": 21000}
    assert after.secrets["db"] == before.secrets["db"]


def test_a_half_built_cluster_gets_the_same_addresses_again() -> None:
    whole = _allocation(_topology())
    half = Allocation("10.9.8.0/24", addresses={name: whole.addresses[name] for name in ("db-2", "eye-1")})
    assert _allocation(_topology(), half).addresses == whole.addresses


def test_a_full_subnet_is_said() -> None:
    topology = _topology(db={"replicas": 3})
    with pytest.raises(EnvironmentTrouble, match="no address left for"):
        allocate(topology, _registry(), "10.9.8.0/28", Allocation("x"), iter(range(9)), lambda: "s")


def test_images_are_the_users_or_ours() -> None:
    topology = _topology(db={"image": "example/store:2"})
    planned = plan(topology, _registry(), _allocation(topology))
    assert planned.node("db-1").image == Pull("example/store:2")
    assert planned.node("eye-1").image == Install("watcher")


def test_exports_are_what_export_names_says() -> None:
    topology = _topology()
    planned = plan(topology, _registry(), _allocation(topology))
    assert set(exports(planned.groups["db"], STORE)) == set(STORE.export_names)
    assert exports(planned.groups["db"], STORE)["password"] == "secret-1"


def test_who_meets_whom_at_the_first_start() -> None:
    topology = _topology(db={"replicas": 5})
    allocation = _allocation(topology)
    begun = plan(topology, _registry(), allocation).groups["db"]
    assert [len(begun.met_by(member)) for member in begun.members] == [5] * 5
    assert not any(begun.joins(member) for member in begun.members)
    grown = plan(topology, _registry(), replace(allocation, founders={"db": ("db-1", "db-2", "db-3")})).groups["db"]
    assert [len(grown.met_by(member)) for member in grown.members] == [3, 3, 3, 4, 5]
    assert [grown.joins(member) for member in grown.members] == [False, False, False, True, True]
