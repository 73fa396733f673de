"""L1, pure. Words of a user -> nodes: by name, pattern, component, zone or the role they have now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random

from clusterkit.errors import UsageError
from clusterkit.model.words import did_you_mean, listed, nearest

RESERVED = frozenset({"all", "zone", "of", "one", "minority", "majority", "random", "everyone"})
"""Words that name targets by themselves; no component may be called so."""


@dataclass(frozen=True)
class Candidate:
    """A node that may be chosen."""

    name: str
    component: str
    zone: str


Roles = Callable[[], Mapping[str, tuple[str, ...]]]
"""Asks the system itself, when a word needs it: node name -> role names, e.g. "leader", "replica"."""


_SHARES = ("one", "minority", "majority", "random")


def select(
    words: Sequence[str], nodes: Sequence[Candidate], roles: Roles | None = None, random: Random | None = None
) -> tuple[str, ...]:
    """The names of the nodes that `words` name, in the order of `nodes`, each once. No words: all nodes.

    A target is `cache-1`, `cache-*`, `cache`, `zone a`, `zone:a`, `all`, `all of cache` or `leader of registry`. With
    `random`, also a share of such a target, chosen by it: `one of cache`, `minority of zone a`, `majority` (of all),
    `random of cache` (any number from one). Words may come in one string or several, as a shell splits them; commas
    part them too. Raises: UsageError for a word that names nothing, a role that no node has now, a share that
    cannot be.
    """
    if not words:
        return tuple(node.name for node in nodes)
    chosen: set[str] = set()
    for target in _targets([part for word in words for part in word.replace(",", " ").split()]):
        chosen.update(_one(target, nodes, roles, random))
    return tuple(node.name for node in nodes if node.name in chosen)


def _targets(parts: list[str]) -> Iterable[tuple[str, ...]]:
    """("zone", "a"), ("leader", "of", "registry"), ("one", "of", "zone", "a") belong together; all else is alone."""
    at = 0
    while at < len(parts):
        end = at
        while parts[end + 1 : end + 2] == ["of"] and end + 2 < len(parts):
            end += 2
        end += 1 if parts[end + 1 : end + 2] == ["of"] else 0
        end += 1 if parts[end] == "zone" else 0
        yield tuple(parts[at : end + 1])
        at = end + 1


def _one(
    target: tuple[str, ...], nodes: Sequence[Candidate], roles: Roles | None, random: Random | None
) -> Iterable[str]:
    if target[0] in _SHARES:
        return _share(target, nodes, roles, random)
    word = target[0]
    if word == "all" and target[1:2] == ("of",) and target[2:]:
        return _one(target[2:], nodes, roles, random)
    if target[1:2] == ("of",):
        return _by_role(word, target[2:], nodes, roles)
    if word == "zone" or word.startswith("zone:"):
        return _by_zone(target[1:] or tuple(word.split(":")[1:2]), nodes)
    if word == "all":
        return [node.name for node in nodes]
    return _by_name(word, nodes)


def _by_name(word: str, nodes: Sequence[Candidate]) -> Iterable[str]:
    if re.search(r"[*?\[]", word):
        found = [node.name for node in nodes if fnmatchcase(node.name, word)]
        if not found:
            raise UsageError(f'no node matches "{word}"', mend=f"the nodes are {listed(node.name for node in nodes)}")
        return found
    found = [node.name for node in nodes if word in (node.name, node.component)]
    if not found:
        names = [node.name for node in nodes]
        raise UsageError(
            f'"{word}" is no node and no component',
            mend=did_you_mean(word, {*names, *(node.component for node in nodes)}, "names"),
        )
    return found


def _share(
    target: tuple[str, ...], nodes: Sequence[Candidate], roles: Roles | None, random: Random | None
) -> Iterable[str]:
    word = target[0]
    if random is None:
        raise UsageError(
            f'"{word}" leaves it to chance, and cannot be used here', mend="name the nodes or the component"
        )
    if target[1:] == ("of",):
        raise UsageError(
            f'"{word} of" needs a target', mend=f'write "{word} of {nodes[0].component}", or "{word}" alone'
        )
    of = sorted(set(_one(target[2:] or ("all",), nodes, roles, random)))
    if word in ("minority", "majority") and len(of) < 3:
        whole = " ".join(target[2:]) or "the cluster"
        raise UsageError(
            f"there is no {word} of {len(of)} ({whole})", mend=f"it takes three nodes or more; name them: {listed(of)}"
        )
    sizes = {"one": 1, "minority": (len(of) - 1) // 2, "majority": len(of) // 2 + 1}
    return random.sample(of, sizes[word] if word in sizes else random.randint(1, len(of)))


def _by_zone(rest: tuple[str, ...], nodes: Sequence[Candidate]) -> Iterable[str]:
    zones = {node.zone for node in nodes}
    if not rest or not rest[0]:
        raise UsageError('"zone" needs a name', mend=f"the zones are {listed(sorted(zones))}")
    if rest[0] not in zones:
        raise UsageError(f'no node is in zone "{rest[0]}"', mend=did_you_mean(rest[0], zones, "zones"))
    return [node.name for node in nodes if node.zone == rest[0]]


def _by_role(role: str, rest: tuple[str, ...], nodes: Sequence[Candidate], roles: Roles | None) -> Iterable[str]:
    components = {node.component for node in nodes}
    if not rest:
        raise UsageError(f'"{role} of" needs a component', mend=f"the components are {listed(sorted(components))}")
    component = rest[0]
    if component not in components:
        raise UsageError(f'"{component}" is no component', mend=did_you_mean(component, components, "components"))
    if roles is None:
        raise UsageError(f'"{role} of {component}" cannot be used here', mend="name the nodes or the component")
    now = roles()
    members = [node.name for node in nodes if node.component == component]
    found = [name for name in members if role in now.get(name, ())]
    if not found:
        seen = sorted({each for name in members for each in now.get(name, ())})
        near = nearest(role, seen)
        has = f"its roles are {listed(seen)}" if seen else "none of its nodes says what it is"
        raise UsageError(
            f'no node of "{component}" is {role} now: {has}',
            mend=f'did you mean "{near} of {component}"?' if near else "wait until it has one, or name the nodes",
        )
    return found
