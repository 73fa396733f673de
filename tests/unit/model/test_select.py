"""Words of a user -> nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

import pytest

from clusterkit.errors import UsageError
from clusterkit.model.select import Candidate, select

NODES = [
    Candidate(f"{component}-{index}", component, zone)
    for component in ("registry", "cache")
    for index, zone in enumerate("abc", start=1)
]


def roles() -> Mapping[str, tuple[str, ...]]:
    return {"registry-2": ("leader",), "registry-1": ("follower",), "cache-1": ("replica",), "cache-3": ("primary",)}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["cache-2"], "cache-2"),
        (["cache"], "cache-1 cache-2 cache-3"),
        (["cache-*"], "cache-1 cache-2 cache-3"),
        (["*-[13]"], "registry-1 registry-3 cache-1 cache-3"),
        (["zone a"], "registry-1 cache-1"),
        (["zone", "a"], "registry-1 cache-1"),
        (["zone:c"], "registry-3 cache-3"),
        (["all"], "registry-1 registry-2 registry-3 cache-1 cache-2 cache-3"),
        ([], "registry-1 registry-2 registry-3 cache-1 cache-2 cache-3"),
        (["leader of registry"], "registry-2"),
        (["leader", "of", "registry", "cache-1"], "registry-2 cache-1"),
        (["primary of cache", "zone b"], "registry-2 cache-2 cache-3"),
        (["cache-3", "cache-1", "cache", "cache-1"], "cache-1 cache-2 cache-3"),
    ],
)
def test_targets_in_the_order_of_the_nodes(words: list[str], names: str) -> None:
    assert select(words, NODES, roles) == tuple(names.split())


@pytest.mark.parametrize(
    ("words", "what", "mend"),
    [
        (["cahce"], '"cahce" is no node and no component', 'did you mean "cache"?'),
        (["cache-4"], '"cache-4" is no node and no component', 'did you mean "cache-'),
        (["q*"], 'no node matches "q*"', "the nodes are registry-1"),
        (["zone d"], 'no node is in zone "d"', "known zones: a, b, c"),
        (["zone"], '"zone" needs a name', "the zones are a, b and c"),
        (["zone:"], '"zone" needs a name', "the zones are a, b and c"),
        (["leader", "of"], '"leader of" needs a component', "the components are cache and registry"),
        (["leader of cahce"], '"cahce" is no component', 'did you mean "cache"?'),
        (["leadr of registry"], 'no node of "registry" is leadr now', 'did you mean "leader of registry"?'),
        (["leader of cache"], 'no node of "cache" is leader now: its roles are primary and replica', "wait until"),
    ],
)
def test_words_that_name_nothing(words: list[str], what: str, mend: str) -> None:
    with pytest.raises(UsageError, match=re.escape(what)) as raised:
        select(words, NODES, roles)
    assert mend in str(raised.value.mend)


@pytest.mark.parametrize(
    ("words", "of", "sizes"),
    [
        (["one of cache"], "cache-1 cache-2 cache-3", {1}),
        (["one", "of", "cache"], "cache-1 cache-2 cache-3", {1}),
        (["minority of registry"], "registry-1 registry-2 registry-3", {1}),
        (["majority of registry"], "registry-1 registry-2 registry-3", {2}),
        (["majority"], "registry-1 registry-2 registry-3 cache-1 cache-2 cache-3", {4}),
        (["minority"], "registry-1 registry-2 registry-3 cache-1 cache-2 cache-3", {2}),
        (["random of cache"], "cache-1 cache-2 cache-3", {1, 2, 3}),
        (["one of zone a"], "registry-1 cache-1", {1}),
        (["one of cache-*"], "cache-1 cache-2 cache-3", {1}),
        (["one of leader of registry"], "registry-2", {1}),
        (["all of cache"], "cache-1 cache-2 cache-3", {3}),
        (["cache-1, cache-2"], "cache-1 cache-2", {2}),
    ],
)
def test_shares_are_chosen_by_chance(words: list[str], of: str, sizes: set[int]) -> None:
    found = [select(words, NODES, roles, Random(seed)) for seed in range(60)]
    assert {len(names) for names in found} == sizes
    assert {name for names in found for name in names} == set(of.split())
    assert found == [select(words, NODES, roles, Random(seed)) for seed in range(60)]


@pytest.mark.parametrize(
    ("words", "what", "mend"),
    [
        (["majority of cache-1"], "there is no majority of 1 (cache-1)", "three nodes or more"),
        (["minority of zone a"], "there is no minority of 2 (zone a)", "name them: cache-1 and registry-1"),
        (["one of"], '"one of" needs a target', '"one of registry", or "one" alone'),
        (["one of cahce"], '"cahce" is no node', 'did you mean "cache"?'),
    ],
)
def test_shares_that_cannot_be(words: list[str], what: str, mend: str) -> None:
    with pytest.raises(UsageError, match=re.escape(what)) as raised:
        select(words, NODES, roles, Random(1))
    assert mend in str(raised.value.mend)


def test_shares_need_chance() -> None:
    with pytest.raises(UsageError, match="leaves it to chance"):
        select(["one of cache"], NODES, roles)


def test_roles_are_asked_only_when_a_word_needs_them() -> None:
    def never() -> Mapping[str, tuple[str, ...]]:
        raise AssertionError("roles were asked")

    assert select(["cache-1"], NODES, never) == ("cache-1",)
    with pytest.raises(UsageError, match="cannot be used here"):
        select(["leader of registry"], NODES, None)
