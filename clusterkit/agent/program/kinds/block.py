"""L5. Packets that are lost: pairs of (source, destination), each way by itself, all of them in one transaction.

A table of the bridge family for each cluster, with rules that never change and sets that hold the pairs. The elements
expire by themselves in the kernel and are renewed as long as the fault is in force: where the agent dies and never
comes back, the network heals. Rules are keyed by address, so that they outlive a node's restart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from .. import nft
from ..entry import Entry, now
from ..kind import Kind, Refused

Pair = tuple[str, ...]
"""(source, destination), or (source, destination, protocol, destination port)."""

LONGEST = 12.0
"""Seconds until an element expires that nobody renews."""

_RENEW_AT = 8.0

_TABLE = """
add table bridge {table}
add set bridge {table} pairs {{ type ipv4_addr . ipv4_addr; flags timeout; }}
add set bridge {table} ports {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags timeout; }}
add chain bridge {table} forward {{ type filter hook forward priority -300; policy accept; }}
flush chain bridge {table} forward
add rule bridge {table} forward ether type ip ip saddr . ip daddr @pairs counter drop
add rule bridge {table} forward ether type ip ip saddr . ip daddr . ip protocol . th dport @ports counter drop
"""


class Block(Kind):
    """`args`: `pairs`, a list of [source, destination] or [source, destination, "tcp", port], addresses as text;
    `flap_s`, how long it is in force, and out of force, in turn (0: always in force).
    """

    name = "block"

    def trial(self) -> str:
        table = table_of("trial")
        try:
            nft.run(_TABLE.format(table=table))
            nft.run(f"add element bridge {table} pairs {{ 192.0.2.1 . 192.0.2.2 timeout 1s }}")
        finally:
            nft.run(f"add table bridge {table}\ndelete table bridge {table}")
        return ""

    def make(self, entry: Entry) -> None:
        if not entry.args["pairs"]:
            raise Refused("no packets would be lost: nobody is on the other side", "name others with `towards:`")
        self._renew(entry)

    def keep(self, entry: Entry) -> None:
        if now() >= entry.before.get("renew_at", 0.0) or _is_on(entry) != entry.before.get("is_on"):
            self._renew(entry)

    def undo(self, entry: Entry) -> None:
        """Pairs that another fault wants too stay, until that one ends."""
        others = [other for other in self.box.entries(self.name, entry.cluster) if other.id != entry.id]
        table = table_of(entry.cluster)
        if not others:
            nft.run(f"add table bridge {table}\ndelete table bridge {table}")
            return
        wanted = {pair for other in others if _is_on(other) for pair in _pairs(other)}
        nft.run(_TABLE.format(table=table) + _gone(table, set(_pairs(entry)) - wanted))

    def sweep(self) -> None:
        """Tables of clusters that have no such fault any more."""
        wanted = {table_of(entry.cluster) for entry in self.box.entries(self.name)}
        for table in re.findall(r"^table bridge (clusterkit_\S+)$", nft.run("list tables bridge"), re.MULTILINE):
            if table not in wanted:
                nft.run(f"delete table bridge {table}")

    def _renew(self, entry: Entry) -> None:
        table = table_of(entry.cluster)
        entry.before["is_on"] = _is_on(entry)
        if not _is_on(entry):
            self._take_out(entry, table)
            entry.before["renew_at"] = math.inf
            return
        left = LONGEST if entry.until is None else min(LONGEST, max(0.05, entry.until - now()))
        pairs = _pairs(entry)
        # An older kernel does not renew an element that is added again: it is taken away and added in one transaction.
        lines = _TABLE.format(table=table)
        lines += _added(table, pairs, left) + _deleted(table, pairs) + _added(table, pairs, left)
        nft.run(lines)
        entry.before["renew_at"] = now() + (left - (LONGEST - _RENEW_AT) if left == LONGEST else left / 2)

    def _take_out(self, entry: Entry, table: str) -> None:
        others = [other for other in self.box.entries(self.name, entry.cluster) if other.id != entry.id]
        wanted = {pair for other in others if _is_on(other) for pair in _pairs(other)}
        nft.run(_TABLE.format(table=table) + _gone(table, set(_pairs(entry)) - wanted))


def table_of(cluster: str) -> str:
    return f"clusterkit_{cluster}"


def _is_on(entry: Entry) -> bool:
    """A link that flaps is down first."""
    flap = entry.args.get("flap_s", 0)
    if not flap:
        return True
    begun = entry.before.setdefault("begun", now())
    return int((now() - begun) / flap) % 2 == 0


def _pairs(entry: Entry) -> list[Pair]:
    return [tuple(str(part) for part in pair) for pair in entry.args["pairs"]]


def _gone(table: str, pairs: Iterable[Pair]) -> str:
    """Deletes pairs whether or not they are still there: only what exists can be deleted."""
    pairs = list(pairs)
    return _added(table, pairs, 1.0) + _deleted(table, pairs)


def _added(table: str, pairs: Iterable[Pair], seconds: float) -> str:
    return _elements("add", table, pairs, f" timeout {max(1, round(seconds * 1000))}ms")


def _deleted(table: str, pairs: Iterable[Pair]) -> str:
    return _elements("delete", table, pairs, "")


def _elements(verb: str, table: str, pairs: Iterable[Pair], rest: str) -> str:
    lines = ""
    pairs = list(dict.fromkeys(pairs))
    for name, length in (("pairs", 2), ("ports", 4)):
        elements = ", ".join(" . ".join(pair) + rest for pair in pairs if len(pair) == length)
        if elements:
            lines += f"{verb} element bridge {table} {name} {{ {elements} }}\n"
    return lines


KINDS = (Block,)
