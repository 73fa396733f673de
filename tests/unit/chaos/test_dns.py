"""Name faults as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import Fault, Target
from clusterkit.chaos.faults.dns import DnsNxdomain, DnsServfail, DnsSilent, DnsSlow, DnsWrong
from clusterkit.chaos.strike import strike
from clusterkit.units import Duration
from tests.unit.chaos.stage import FakeAgent, scene

CACHE_1 = Target(("cache-1",))
ALL = Target(("all",))
TRUE = {"said": "address", "addresses": ["10.64.0.9"], "took_ms": 1.0}
Answer = Mapping[str, Any]


def _lookups(hit: Answer, *nodes: str, tcp: Answer | None = None, true: Answer = TRUE) -> Callable[[Answer], Any]:
    """These nodes are told `hit`, over TCP `tcp` where it is given; all others the truth."""

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "udp": hit if node["name"] in nodes else true,
                "tcp": (hit if tcp is None else tcp) if node["name"] in nodes else true,
                "true_udp": true,
                "true_tcp": true,
                "trouble": "",
            }
            for node, _ in args["asks"]
        ]

    return answer


def _said(word: str, *addresses: str, took_ms: float = 1.0) -> Answer:
    return {"said": word, "addresses": list(addresses), "took_ms": took_ms}


SLOW = DnsSlow(delay=Duration.parse("200ms"), target=CACHE_1)


@pytest.mark.parametrize(
    ("fault", "args"),
    [
        (DnsSilent(target=CACHE_1, names=("Registry-*.",)), {"how": "silent", "names": ["registry-*"]}),
        (SLOW, {"how": "slow", "delay_s": 0.2}),
        (DnsWrong(target=CACHE_1), {"how": "wrong", "address": "192.0.2.1"}),
        (DnsNxdomain(target=CACHE_1), {"how": "nxdomain"}),
        (DnsServfail(target=CACHE_1), {"how": "servfail"}),
    ],
)
def test_orders(fault: Fault, args: Mapping[str, Any]) -> None:
    stage = scene()
    order = fault.order(stage, aim(fault, stage))
    assert {name: value for name, value in order.args.items() if name != "nodes"} == {
        "names": [],
        "delay_s": 0.0,
        "address": "",
        **args,
    }
    assert [node["id"] for node in order.args["nodes"]] == ["id-cache-1"]
    assert (order.kind, order.nodes) == ("dns", ("cache-1",))


@pytest.mark.parametrize("name", ["", ".", "two words", "http://cache-1", "cache-1,cache-2"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        DnsSilent(target=CACHE_1, names=(name,))


@pytest.mark.parametrize("address", ["", "cache-1", "1.2.3", "::1"])
def test_a_wrong_address_is_an_address(address: str) -> None:
    with pytest.raises(ValueError, match="is no IPv4 address"):
        DnsWrong(target=CACHE_1, address=address)


@pytest.mark.parametrize("delay", ["0s", "1m"])
def test_a_delay_is_within_what_can_be_kept(delay: str) -> None:
    with pytest.raises(ValueError, match="write 20ms to 20s"):
        DnsSlow(delay=Duration.parse(delay), target=CACHE_1)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (DnsSilent(target=CACHE_1), _said("silence")),
        (SLOW, _said("address", "10.64.0.9", took_ms=203.0)),
        (DnsWrong(target=CACHE_1), _said("address", "192.0.2.1")),
        (DnsNxdomain(target=CACHE_1), _said("NXDOMAIN")),
        (DnsServfail(target=CACHE_1), _said("SERVFAIL")),
    ],
)
def test_what_was_asked_for_bites_over_both_protocols(fault: Fault, seen: Answer) -> None:
    effect = strike(fault, scene(FakeAgent({"lookups": _lookups(seen, "cache-1")})), 5).effect
    assert effect.bites
    assert effect.beside_is_well
    assert effect.beside == "3 of 3 other questions answered truly"
    assert not strike(fault, scene(FakeAgent({"lookups": _lookups(seen)})), 5).effect.bites
    half = _lookups(seen, "cache-1", tcp=TRUE)
    assert not strike(fault, scene(FakeAgent({"lookups": half})), 5).effect.bites


def test_what_the_true_resolver_says_too_does_not_bite() -> None:
    gone = _said("NXDOMAIN")
    effect = strike(DnsNxdomain(target=CACHE_1), scene(FakeAgent({"lookups": _lookups(gone, true=gone)})), 5).effect
    assert not effect.bites


def test_another_address_than_the_wrong_one_does_not_bite() -> None:
    other = _lookups(_said("address", "192.0.2.9"), "cache-1")
    assert not strike(DnsWrong(target=CACHE_1), scene(FakeAgent({"lookups": other})), 5).effect.bites


def test_others_that_are_hit_are_told() -> None:
    effect = strike(
        DnsSilent(target=CACHE_1), scene(FakeAgent({"lookups": _lookups(_said("silence"), "cache-1", "cache-3")})), 5
    ).effect
    assert effect.bites
    assert not effect.beside_is_well


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        ((), "cache-2"),
        (("registry-*",), "registry-1"),
        (("*.example.com",), "x.example.com"),
        (("cache-1",), "cache-1"),
    ],
)
def test_a_name_that_is_hit_is_asked_for(names: tuple[str, ...], asked: str) -> None:
    seen: list[str] = []

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        seen.extend(name for _, name in args["asks"])
        found: list[dict[str, Any]] = _lookups(_said("silence"), "cache-1")(args)
        return found

    strike(DnsSilent(target=CACHE_1, names=names), scene(FakeAgent({"lookups": answer})), 5)
    assert seen[0] == asked


def test_where_all_nodes_are_hit_other_names_are_beside() -> None:
    asked: list[tuple[str, str]] = []

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked.extend((node["name"], name) for node, name in args["asks"])
        hit = _lookups(_said("silence"), *(f"{name}-{index}" for name in ("cache", "registry") for index in (1, 2, 3)))
        found: list[dict[str, Any]] = hit({"asks": args["asks"][:6]}) + _lookups(TRUE)({"asks": args["asks"][6:]})
        return found

    effect = strike(DnsSilent(target=ALL, names=("cache-*",)), scene(FakeAgent({"lookups": answer})), 5).effect
    assert effect.bites
    assert effect.beside_is_well
    assert {name for _, name in asked[6:]} == {"registry-1"}


def test_where_every_name_is_hit_everywhere_addresses_are_beside() -> None:
    everyone = [f"{name}-{index}" for name in ("cache", "registry") for index in (1, 2, 3)]
    agent = FakeAgent(
        {
            "lookups": _lookups(_said("SERVFAIL"), *everyone),
            "datagrams": lambda args: [{"sent": 3, "received": 3, "trouble": ""} for _ in args["pairs"]],
        }
    )
    effect = strike(DnsServfail(target=ALL), scene(agent), 5).effect
    assert effect.bites
    assert effect.beside == "3 of 3 other ways by address whole"
