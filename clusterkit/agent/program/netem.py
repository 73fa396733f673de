"""L5, pure. Impaired links by the kernel's netem: what `tc` is told in the network namespace of the node that sends.

Under an htb root each impaired destination has a class of its own, with a netem leaf; all other traffic passes htb
without any class, as fast as before. Source: tc-htb(8), tc-netem(8), tc-u32(8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .impair import Impair, combined

_PROTOCOLS = {"tcp": 6, "udp": 17}
_UNLIMITED = "100gbit"


@dataclass(frozen=True)
class Wanted:
    """One fault on the way to a destination; `port`: "6379/tcp", or "" for all traffic."""

    destination: str
    port: str
    impair: Impair


REMOVAL = ["qdisc", "del", "dev", "eth0", "root"]
"""Puts back the interface's own way of queueing."""


def plan(links: Sequence[Wanted], device: str = "eth0") -> list[list[str]]:
    """The words after `tc`, in order, for an interface without a root of ours; none where nothing is wanted.

    A port's class has what is wanted for the port and for all traffic: a packet falls into one class only.
    """
    if not links:
        return []
    lines = [f"qdisc add dev {device} root handle 1: htb"]
    for number, (destination, port) in enumerate(_classes(links), start=1):
        impair = combined(one.impair for one in links if one.destination == destination and one.port in ("", port))
        rate = f"{impair.bits_per_second:.0f}bit" if impair.bits_per_second else _UNLIMITED
        match = f"match ip dst {destination}/32{_match(port)}"
        lines += [
            f"class add dev {device} parent 1: classid 1:{number:x} htb rate {rate} quantum 60000",
            f"qdisc add dev {device} parent 1:{number:x} handle {number + 1:x}: netem limit 20000{_leaf(impair)}",
            f"filter add dev {device} parent 1: protocol ip prio {1 if port else 2} u32 {match} flowid 1:{number:x}",
        ]
    return [line.split() for line in lines]


def _classes(links: Sequence[Wanted]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((one.destination, one.port) for one in links))


def _match(port: str) -> str:
    if not port:
        return ""
    number, _, protocol = port.partition("/")
    return f" match ip protocol {_PROTOCOLS[protocol]} 0xff match ip dport {number} 0xffff"


def _leaf(impair: Impair) -> str:
    words = ""
    if impair.delay_ms:
        words += f" delay {impair.delay_ms:g}ms" + (f" {impair.jitter_ms:g}ms" if impair.jitter_ms else "")
    for name in ("loss", "duplicate", "corrupt", "reorder"):
        share = getattr(impair, name)
        words += f" {name} {share * 100:g}%" if share else ""
    return words
