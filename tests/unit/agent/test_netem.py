"""Links by the kernel's netem, as lines of tc."""

from __future__ import annotations

from clusterkit.agent.program.impair import Impair
from clusterkit.agent.program.netem import Wanted, plan

B, C = "10.64.0.12", "10.64.0.13"


def _lines(*links: Wanted) -> list[str]:
    return [" ".join(line) for line in plan(links)]


def test_nothing_wanted_is_nothing_to_do() -> None:
    assert plan([]) == []


def test_only_the_chosen_peer_is_impaired() -> None:
    assert _lines(Wanted(B, "", Impair(delay_ms=100, jitter_ms=20))) == [
        "qdisc add dev eth0 root handle 1: htb",
        "class add dev eth0 parent 1: classid 1:1 htb rate 100gbit quantum 60000",
        "qdisc add dev eth0 parent 1:1 handle 2: netem limit 20000 delay 100ms 20ms",
        "filter add dev eth0 parent 1: protocol ip prio 2 u32 match ip dst 10.64.0.12/32 flowid 1:1",
    ]


def test_faults_on_one_way_are_one_leaf() -> None:
    lines = _lines(
        Wanted(B, "", Impair(delay_ms=100)),
        Wanted(B, "", Impair(loss=0.1, corrupt=0.05)),
        Wanted(B, "", Impair(duplicate=0.01, bits_per_second=1e6)),
        Wanted(B, "", Impair(delay_ms=20, reorder=0.25)),
    )
    assert len(lines) == 4
    assert "rate 1000000bit" in lines[1]
    assert lines[2].endswith("netem limit 20000 delay 120ms loss 10% duplicate 1% corrupt 5% reorder 25%")


def test_a_port_has_what_all_traffic_has_and_its_own() -> None:
    lines = _lines(
        Wanted(B, "", Impair(delay_ms=10)),
        Wanted(B, "6379/tcp", Impair(delay_ms=5)),
        Wanted(C, "53/udp", Impair(loss=1.0)),
    )
    leaves = [line.partition("netem limit 20000 ")[2] for line in lines if "netem" in line]
    assert leaves == ["delay 10ms", "delay 15ms", "loss 100%"]
    filters = [line.partition("protocol ip ")[2] for line in lines if line.startswith("filter")]
    assert filters == [
        "prio 2 u32 match ip dst 10.64.0.12/32 flowid 1:1",
        "prio 1 u32 match ip dst 10.64.0.12/32 match ip protocol 6 0xff match ip dport 6379 0xffff flowid 1:2",
        "prio 1 u32 match ip dst 10.64.0.13/32 match ip protocol 17 0xff match ip dport 53 0xffff flowid 1:3",
    ]


def test_handles_are_hexadecimal() -> None:
    lines = _lines(*(Wanted(f"10.64.0.{number}", "", Impair(delay_ms=1)) for number in range(20, 32)))
    assert any(line.startswith("qdisc add dev eth0 parent 1:a handle b: netem") for line in lines)
