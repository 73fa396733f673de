"""One look at a cluster: what runs, its roles, its health."""

from __future__ import annotations

from collections.abc import Mapping

from clusterkit.components.base import Role, Running
from clusterkit.health.roles import roles
from clusterkit.health.status import NodeHealth, look
from clusterkit.health.view import running
from clusterkit.node import State
from tests.unit.health.fake_provider import FakeProvider, planned, record, store


def one_leads(running: Running) -> Mapping[str, tuple[Role, ...]]:
    return {
        member.name: (Role("leader" if member.index == 2 else "follower", f"term {member.index}"),)
        for member in running.up
    }


def test_a_view_holds_only_what_runs() -> None:
    plan = planned(store())
    seen = running(plan, FakeProvider(), record(plan, db_1=State.EXITED, db_2=State.PAUSED), "eye")
    assert set(seen.nodes) == {"eye-1"}
    assert [member.name for member in seen.needs["db"].up] == ["db-3"]
    assert running(plan, FakeProvider(), None, "db").nodes == {}


def test_roles_of_all_components_but_not_of_what_does_not_answer() -> None:
    plan = planned(store(roles=one_leads))
    found = roles(plan, FakeProvider(), record(plan, db_3=State.EXITED))
    assert {name: held[0].name for name, held in found.items()} == {"db-1": "follower", "db-2": "leader"}


def test_roles_that_cannot_be_read_are_absent() -> None:
    def broken(_running: Running) -> Mapping[str, tuple[Role, ...]]:
        raise TimeoutError

    plan = planned(store(roles=broken))
    assert roles(plan, FakeProvider(), record(plan)) == {}


def test_health_of_every_node() -> None:
    plan = planned(store(ready=lambda _running: {"db-2": "it knows no leader"}, roles=one_leads))
    assert look(plan, FakeProvider(), record(plan, db_3=State.PAUSED)) == {
        "db-1": NodeHealth("healthy", "follower", "term 1"),
        "db-2": NodeHealth("unhealthy", "leader", "term 2", "it knows no leader"),
        "db-3": NodeHealth("down"),
        "eye-1": NodeHealth("healthy"),
    }
