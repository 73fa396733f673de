"""A zone that is gone: made of other faults, and healed as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clusterkit.chaos.faults.zone import ZoneOutage
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import UsageError
from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord
from tests.unit.chaos.stage import SIX, FakeAgent, scene


def test_by_kill_all_nodes_of_the_zone_end() -> None:
    order = ZoneOutage(zone="b").order(scene(), {})
    assert (order.fault, order.kind, order.engine) == ("zone-outage", "kill", True)
    assert order.nodes == ("cache-2", "registry-2")
    assert order.words == "zone b is gone by kill: kill cache-2, registry-2"


def test_by_network_the_zone_hears_itself_alone() -> None:
    order = ZoneOutage(zone="b", by="network").order(scene(), {})
    ours = {"cache-2", "registry-2"}
    others = {node.name for node in SIX} - ours
    assert (order.fault, order.kind) == ("zone-outage", "block")
    assert {tuple(way) for way in order.args["ways"]} == {
        way for one in ours for other in others for way in ((one, other), (other, one))
    }


@pytest.mark.parametrize("by", ["kill", "network"])
def test_an_unknown_zone_is_refused_with_the_nearest(by: Any) -> None:
    nodes = [replace(node, zone=f"zone-{node.zone}") for node in SIX]
    agent = FakeAgent()
    with pytest.raises(UsageError, match='no node is in zone "zone-d"') as refused:
        strike(ZoneOutage(zone="zone-d", by=by), scene(agent, nodes=nodes), 60)
    assert "did you mean" in str(refused.value.mend)
    assert agent.orders == []


def test_the_only_zone_cannot_be_cut_off() -> None:
    stage = scene(nodes=[replace(node, zone="a") for node in SIX])
    with pytest.raises(UsageError, match="nobody is left") as refused:
        ZoneOutage(zone="a", by="network").order(stage, {})
    assert refused.value.mend == "write `by: kill`"


def test_it_is_measured_and_healed_as_what_it_is_made_of() -> None:
    agent = FakeAgent(before={"mains": {"cache-2": [1, 1]}, "beside": {}})
    agent.answers["lives"] = lambda args: {node["name"]: None for node in args["nodes"]}
    started: list[str] = []
    down = tuple(replace(node, state=State.EXITED) if node.zone == "b" else node for node in SIX)

    class Service:
        def __init__(self, name: str) -> None:
            self.start = lambda: started.append(name)

    stage = replace(
        scene(agent),
        find=lambda: ClusterRecord("shop", "", "", "", down),
        service=lambda record: Service(record.name),  # type: ignore[arg-type,return-value]  # it is only started
    )
    struck = strike(ZoneOutage(zone="b"), stage, 60)
    assert struck.mark.id == "zone-outage-1"
    assert struck.effect.bites
    heal(stage)
    assert started == ["cache-2"]
    assert agent.healed == ["zone-outage-1"]
