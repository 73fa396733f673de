"""Impaired links as orders, and what a measurement of them says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clusterkit.chaos.base import PortSpec
from clusterkit.chaos.faults.link import link_order
from clusterkit.errors import UsageError
from tests.unit.chaos.stage import SIX

ONE, TWO, THREE = SIX[:3]


def test_an_order_names_each_way_once() -> None:
    ways = [(ONE, TWO), (TWO, ONE), (ONE, TWO), (ONE, ONE)]
    order = link_order("shop", "links", "a WAN", ways, {"delay_ms": 20.0}, owner="links")
    assert order.kind == "link"
    assert order.owner == "links"
    assert order.nodes == (ONE.name, TWO.name)
    assert order.args == {
        "ways": [[ONE.address, TWO.address], [TWO.address, ONE.address]],
        "names": [[ONE.name, TWO.name], [TWO.name, ONE.name]],
        "ids": [ONE.runtime_id, TWO.runtime_id],
        "ports": [],
        "impair": {"delay_ms": 20.0},
    }


def test_a_link_of_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="nobody is on the other side"):
        link_order("shop", "latency", "slow", [(ONE, ONE)], {"delay_ms": 20.0})


def test_nodes_that_share_an_address_are_told_apart_by_port_only() -> None:
    twin = replace(TWO, address=ONE.address)
    with pytest.raises(UsageError, match="share the address"):
        link_order("shop", "latency", "slow", [(THREE, ONE), (THREE, twin)], {"delay_ms": 20.0})
    order = link_order(
        "shop", "latency", "slow", [(THREE, ONE), (THREE, twin)], {"delay_ms": 20.0}, ports=[PortSpec(7000, "tcp")]
    )
    assert order.args["ports"] == ["7000/tcp"]
