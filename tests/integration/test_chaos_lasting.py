"""The lasting links of a topology; and faults on nodes that are made anew, or are gone, meanwhile."""

from __future__ import annotations

from statistics import median

import pytest

from clusterkit.chaos.base import Scene, spot
from clusterkit.chaos.registry import find_fault
from clusterkit.chaos.strike import LINKS, heal, strike
from tests.integration.chaos import at, host_state, marks_of, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

PAIR = "components: {store: {kind: redis, replicas: 2}, other: {kind: etcd, replicas: 1}}\n"
WAN = "links: [{between: [zone a, zone b], latency: 40ms}]\n"


def _ms(scene: Scene, source: str, target: str) -> float:
    """Median of one way."""
    pair = [spot(scene.nodes[source]), spot(scene.nodes[target])]
    found = scene.agent.call("datagrams", pairs=[pair], count=20, interval_ms=5, wait_s=0.3)
    delays: list[float] = found[0]["delays_ms"]
    return median(delays)


def test_a_wan_from_up_to_down(folder: Folder) -> None:
    folder.write(PAIR)
    folder.run("up")
    folder.run("chaos", "list")
    clean = host_state()
    folder.write(PAIR + WAN)
    assert "1 link changed" in folder.run("up").stdout
    assert "nothing to do" in folder.run("up").stdout
    with scene_of(folder) as scene:
        assert _ms(scene, "store-1", "store-2") > 38
        assert _ms(scene, "store-2", "other-1") > 38
        assert _ms(scene, "store-1", "other-1") < _ms(scene, "store-1", "store-2") / 2
        folder.run("restart", "store-2")
        assert _ms(scene.look(), "store-1", "store-2") > 38
        folder.run("chaos", "heal")
        assert {mark.owner for mark in marks_of(scene).values()} == {LINKS}
        folder.write(PAIR + WAN.replace("40ms", "80ms"))
        assert "2 links changed" in folder.run("up").stdout
        assert _ms(scene.look(), "store-1", "store-2") > 76
    folder.write(PAIR)
    assert "1 link changed" in folder.run("up").stdout
    assert host_state() == clean


def test_nodes_that_are_made_anew_or_gone_leak_nothing(folder: Folder) -> None:
    """One fault of each family is in force while its node is recreated, and while it is removed."""
    folder.write(PAIR)
    folder.run("up")
    faults = [
        find_fault("pause")(target=at("store-2")),  # type: ignore[call-arg]  # each has its own fields
        find_fault("isolate")(target=at("store-2")),  # type: ignore[call-arg]
        find_fault("clock-jump")(target=at("store-2"), by=_parsed("clock-jump", "by", "1h")),  # type: ignore[call-arg]
        find_fault("latency")(target=at("store-2"), delay=_parsed("latency", "delay", "50ms")),  # type: ignore[call-arg]
        find_fault("dns-silent")(target=at("store-2")),  # type: ignore[call-arg]
        find_fault("cpu")(target=at("store-2"), limit=_parsed("cpu", "limit", "20%")),  # type: ignore[call-arg]
    ]
    with scene_of(folder) as scene:
        scene.agent.trials()
        before = host_state()
        for fault in faults:
            strike(fault, scene.look(), 600)
        folder.write(PAIR.replace("kind: redis", "kind: redis, environment: {COLOUR: blue}"))
        folder.run("stop", "store-2")
        heal(scene, [mark for mark in marks_of(scene) if not mark.startswith(("cpu", "dns", "clock"))])
        folder.run("up")
        said = {mark.id: mark.trouble for mark in scene.agent.marks(scene.cluster)}
        assert set(said.values()) == {""}, said
        heal(scene)
        assert marks_of(scene) == {}
        assert host_state() == before
        for fault in faults[1:4]:
            strike(fault, scene.look(), 600)
        folder.write(PAIR.replace("replicas: 2", "replicas: 1"))
        folder.run("up")
        heal(scene)
        assert marks_of(scene) == {}
        assert host_state() == before


def _parsed(fault: str, field: str, text: str) -> object:
    from clusterkit.chaos.fields import fields_of

    return fields_of(find_fault(fault))[field].parse(text)
