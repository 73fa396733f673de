"""What `up` decides, without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clusterkit.cluster import Change, check_owner, differences
from clusterkit.cluster.changes import effect
from clusterkit.cluster.up import refuse_new_members
from clusterkit.components.base import Component, Member, Options
from clusterkit.components.registry import Registry
from clusterkit.errors import NameTaken, UsageError
from clusterkit.model.image import Install
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.node import State
from clusterkit.plan import Allocation, NodePlan, Plan, plan
from clusterkit.providers.base import ClusterRecord, NodeRecord, Rendered


def _parts(command: str) -> dict[str, str]:
    return {"of": "2", "command": command}


def _rendered(name: str, command: str = "c1") -> Rendered:
    plan = NodePlan(
        member=Member(name, 1, "a", "10.9.8.11", {}),
        component="db",
        kind="store",
        image=Install("store"),
        command=None,
        environment={},
        user="",
        files={},
        seeds={},
        data="",
        data_kind="volume",
        mounts=(),
        hosts={},
        cpus=None,
        memory_bytes=None,
        stop_signal="TERM",
        working_dir="",
    )
    return Rendered(plan, (), (), "image", _parts(command))


def _record(name: str, state: State = State.RUNNING, command: str = "c1", exit_code: int | None = None) -> NodeRecord:
    return NodeRecord(name, "shop", "db", "store", "a", 1, "10.9.8.11", {}, _parts(command), "id", state, exit_code)


def _cluster(*nodes: NodeRecord) -> ClusterRecord:
    return ClusterRecord("shop", "/home/me/clusterkit.yml", "10.9.8.0/24", "1", nodes)


def test_an_absent_cluster_is_created() -> None:
    wanted = {"db-1": _rendered("db-1"), "db-2": _rendered("db-2")}
    assert differences(None, wanted) == (Change("db-1", "create"), Change("db-2", "create"))


def test_a_changed_node_waits_its_turn_only_while_it_runs() -> None:
    wanted = {"db-1": _rendered("db-1", "f2"), "db-2": _rendered("db-2", "f2")}
    now = _cluster(_record("db-1"), _record("db-2", State.EXITED))
    assert [(change.node, change.action) for change in differences(now, wanted)] == [
        ("db-1", "recreate"),
        ("db-2", "create"),
    ]


def test_a_cluster_as_asked_for_is_left_alone() -> None:
    assert differences(_cluster(_record("db-1")), {"db-1": _rendered("db-1")}) == ()


def test_each_node_gets_what_it_needs_and_why() -> None:
    found = _cluster(
        _record("db-1", command="old"),
        _record("db-2", State.EXITED, exit_code=137),
        _record("db-3", State.PAUSED),
        _record("db-4", State.CREATED),
        _record("db-9"),
        replace(_record("gone-1"), component="gone"),
    )
    wanted = {name: _rendered(name) for name in ("db-1", "db-2", "db-3", "db-4")}
    assert differences(found, wanted) == (
        Change("db-1", "recreate", "command"),
        Change("db-2", "start", "it had ended with code 137"),
        Change("db-3", "unpause", "it was paused"),
        Change("db-4", "create", "it was half made"),
        Change("db-9", "remove", "db shrinks"),
        Change("gone-1", "remove", "the topology no longer has it"),
    )


def test_an_up_of_some_components_removes_nothing() -> None:
    found = _cluster(_record("db-1"), _record("gone-1"))
    assert differences(found, {"db-1": _rendered("db-1")}, orphans=False) == ()


def test_a_disk_that_is_another_device_now_needs_a_new_node() -> None:
    """After the machine was started anew: all nodes are down, and none can wait for the others."""
    found = replace(
        _cluster(_record("db-1", State.EXITED), _record("db-2")), devices={"db-1": "/dev/loop0", "db-2": "/dev/loop1"}
    )
    wanted = {name: _rendered(name) for name in ("db-1", "db-2")}
    assert differences(found, wanted, {"db-1": "/dev/loop0", "db-2": "/dev/loop1"})[0].action == "start"
    assert differences(found, wanted, {"db-1": "/dev/loop8", "db-2": "/dev/loop9"}) == (
        Change("db-1", "create", "its disk is another device now"),
        Change("db-2", "recreate", "its disk is another device now"),
    )


def test_a_name_belongs_to_one_file() -> None:
    mine = Topology("shop", {}, file=Path("/home/me/clusterkit.yml"))
    check_owner(mine, None)
    check_owner(mine, _cluster())
    with pytest.raises(NameTaken, match=r"made from /home/me/clusterkit\.yml"):
        check_owner(replace(mine, file=Path("/elsewhere/clusterkit.yml")), _cluster())


PARTS = {
    "of": "2",
    "image": "clusterkit/store:1",
    "command": "c1",
    "cpus": "0.5",
    "memory": str(256 * 2**20),
    "zone": "a",
    "notes": "n1",
    "environment COLOUR": "e1",
    "file /etc/store.conf": "f1",
    "file /etc/more.conf": "f2",
}


@pytest.mark.parametrize(
    ("given", "action", "why"),
    [
        ({}, None, ""),
        ({"cpus": "1"}, "change", "cpus 0.5 -> 1"),
        ({"cpus": None}, "change", "cpus 0.5 -> none"),
        ({"memory": str(512 * 2**20)}, "change", "memory 256MB -> 512MB"),
        ({"memory": str(128 * 2**20)}, "recreate", "memory 256MB -> 128MB"),
        ({"memory": None}, "recreate", "memory 256MB -> none"),
        ({"notes": "n2"}, "change", "told to it as it runs"),
        ({"file /etc/store.conf": "f9"}, "restart", "/etc/store.conf"),
        ({"file /etc/new.conf": "f9", "cpus": "1"}, "restart", "cpus 0.5 -> 1, /etc/new.conf"),
        ({"file /etc/more.conf": None}, "recreate", "/etc/more.conf"),
        ({"environment COLOUR": "e2"}, "recreate", "environment COLOUR"),
        ({"image": "store:2"}, "recreate", "image clusterkit/store:1 -> store:2"),
        ({"zone": "b"}, "recreate", "zone a -> b"),
        ({"of": "3"}, "recreate", "another version of clusterkit made it"),
        (
            {"zone": "b", "cpus": "1", "command": "c2", "image": "store:2", "notes": "n2"},
            "recreate",
            "command, cpus 0.5 -> 1, image clusterkit/store:1 -> store:2, and 1 more",
        ),
    ],
)
def test_the_mildest_change_that_is_enough(given: dict[str, str | None], action: str | None, why: str) -> None:
    wanted = {part: value for part, value in {**PARTS, **given}.items() if value is not None}
    assert effect(PARTS, wanted) == (action, why)


def test_what_came_later_joins() -> None:
    found = _cluster(_record("db-1"), _record("db-2"), _record("db-3", State.CREATED))
    wanted = {name: _rendered(name) for name in ("db-1", "db-2", "db-3", "db-4")}
    assert differences(found, wanted, joining=["db-4"]) == (
        Change("db-3", "create", "it was half made"),
        Change("db-4", "join", "db grows"),
    )
    assert [change.action for change in differences(found, wanted, joining=["db-3", "db-4"])] == ["join", "join"]


def _vote(*names: str) -> Plan:
    """db: a component whose members vote, each with a list of all, so many of them wanted."""
    vote = Component("store", "1", "votes", ports={}, command=("store",), needs_quorum=True)
    spec = ComponentSpec("db", "store", Options(), replicas=len(names))
    topology = Topology(name="shop", components={"db": spec})
    addresses = {name: f"10.9.8.{11 + place}" for place, name in enumerate(names)}
    return plan(topology, Registry(components=[vote]), Allocation("10.9.8.0/24", addresses, {}, {}))


FIVE = tuple(f"db-{index}" for index in range(1, 6))


@pytest.mark.parametrize("state", [State.RUNNING, State.PAUSED, State.EXITED])
def test_a_vote_with_a_fixed_list_gets_no_members_whether_it_runs_or_not(state: State) -> None:
    there = _cluster(*(_record(name, state, command="three") for name in FIVE[:3]))
    with pytest.raises(UsageError, match='"db" has 3 members and cannot become 5'):
        refuse_new_members(_vote(*FIVE), there, {name: _rendered(name, "five") for name in FIVE})


def test_a_vote_with_a_fixed_list_loses_no_members() -> None:
    there = _cluster(*(_record(name) for name in FIVE))
    with pytest.raises(UsageError, match='"db" has 5 members and cannot become 3'):
        refuse_new_members(_vote(*FIVE[:3]), there, {name: _rendered(name) for name in FIVE[:3]})


def test_data_that_was_kept_of_three_is_not_for_five() -> None:
    kept = replace(_cluster(), devices=dict.fromkeys(FIVE[:3], ""))
    with pytest.raises(UsageError, match='"db" has 3 members and cannot become 5'):
        refuse_new_members(_vote(*FIVE), kept, {name: _rendered(name) for name in FIVE})


@pytest.mark.parametrize(
    ("there", "rendered"),
    [
        ((), FIVE),  # a first `up`
        ([_record("db-1"), _record("db-2", State.CREATED)], FIVE),  # it was killed, and is completed
        ([_record("db-1", State.CREATED, command="three")], FIVE),  # none has ever run
        ([_record(name, command="three") for name in FIVE[:3]], ()),  # an `up` of another component
        ([_record(name, command="old") for name in FIVE], FIVE),  # an option was edited
    ],
)
def test_what_is_no_new_member_is_let_pass(there: list[NodeRecord], rendered: tuple[str, ...]) -> None:
    refuse_new_members(_vote(*FIVE), _cluster(*there), {name: _rendered(name) for name in rendered})
