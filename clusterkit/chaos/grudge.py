"""L9, pure. Partitions: nodes -> who does not hear whom. Shapes and their names are those of Jepsen's nemesis.

Source: Jepsen, jepsen.nemesis (bisect, split-one, bridge, majorities-ring), read for what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from clusterkit.errors import UsageError

Ways = tuple[tuple[str, str], ...]
"""(sender, receiver): what the sender says never arrives. Sorted."""


def between(sides: Iterable[Iterable[str]]) -> Ways:
    """Every side is cut from all the others, both ways."""
    sides = [list(side) for side in sides]
    return tuple(
        sorted(
            (one, other)
            for side in sides
            for one in side
            for rest in sides
            if rest is not side
            for other in rest
            if one != other
        )
    )


def one_way(senders: Iterable[str], receivers: Iterable[str]) -> Ways:
    """What the senders say does not arrive; what they are told does."""
    receivers = list(receivers)
    return tuple(sorted((one, other) for one in senders for other in receivers if one != other))


def halves(nodes: Sequence[str], _zones: Mapping[str, str], random: Random) -> Ways:
    """Two halves by chance; of an odd number the second is larger by one."""
    _enough("halves", nodes, 2)
    mixed = random.sample(list(nodes), len(nodes))
    return between([mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]])


def one(nodes: Sequence[str], _zones: Mapping[str, str], random: Random) -> Ways:
    """One node by chance against all the others."""
    _enough("one", nodes, 2)
    alone = random.choice(list(nodes))
    return between([[alone], [node for node in nodes if node != alone]])


def majority(nodes: Sequence[str], _zones: Mapping[str, str], random: Random) -> Ways:
    """The smallest majority, by chance, against the minority."""
    _enough("majority", nodes, 3)
    mixed = random.sample(list(nodes), len(nodes))
    size = len(mixed) // 2 + 1
    return between([mixed[:size], mixed[size:]])


def bridge(nodes: Sequence[str], _zones: Mapping[str, str], random: Random) -> Ways:
    """Two halves that cannot hear each other, and one node that hears both."""
    _enough("bridge", nodes, 3)
    mixed = random.sample(list(nodes), len(nodes))[1:]
    return between([mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]])


def ring(nodes: Sequence[str], _zones: Mapping[str, str], random: Random) -> Ways:
    """Every node hears a majority, and no two hear the same one."""
    _enough("ring", nodes, 3)
    mixed = random.sample(list(nodes), len(nodes))
    size = len(mixed) // 2 + 1
    before = (size - 1) // 2
    ways = []
    for index, hearer in enumerate(mixed):
        heard = {mixed[(index - before + step) % len(mixed)] for step in range(size)}
        ways += [(other, hearer) for other in mixed if other not in heard]
    return tuple(sorted(ways))


def zones(nodes: Sequence[str], zones: Mapping[str, str], _random: Random) -> Ways:
    """Zone against zone: each hears only itself."""
    sides = [[node for node in nodes if zones[node] == zone] for zone in dict.fromkeys(zones[node] for node in nodes)]
    if len(sides) < 2:
        raise UsageError(
            "the nodes are all in one zone: there is nothing to part", mend="choose nodes of several zones, or halves"
        )
    return between(sides)


SHAPES: Mapping[str, Callable[[Sequence[str], Mapping[str, str], Random], Ways]] = {
    "halves": halves,
    "one": one,
    "majority": majority,
    "ring": ring,
    "bridge": bridge,
    "zones": zones,
}
"""name -> (nodes, node -> zone, chance) -> ways that are cut."""


def _enough(shape: str, nodes: Sequence[str], least: int) -> None:
    if len(nodes) < least:
        raise UsageError(
            f'a partition into "{shape}" needs {least} nodes or more; here there is {len(nodes)}',
            mend="name more nodes with `target:`",
        )
