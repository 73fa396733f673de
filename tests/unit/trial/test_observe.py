"""Who leads is written down when it changes, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterkit.components.base import Component, Group, Member, Options, Port, Role, Running
from clusterkit.history.codec import Recorder
from clusterkit.testing import FakeNode
from clusterkit.trial.observe import TIMEOUT_S, Observer, with_needs

LOOKS: list[dict[str, tuple[Role, ...]]] = []
ASKED: list[float] = []


def _roles(running: Running) -> dict[str, tuple[Role, ...]]:
    ASKED.append(running.timeout)
    return LOOKS.pop(0)


COMPONENT = Component(kind="kv", version="1", summary="", ports={"client": Port(1)}, command=("kv",), roles=_roles)


def _running(name: str = "kv") -> Running:
    members = tuple(Member(f"{name}-{n}", n, "a", f"192.0.2.{n}", {"client": 1}) for n in (1, 2, 3))
    return Running(Group("c", name, "kv", Options(), members), COMPONENT, {one.name: FakeNode() for one in members})


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with Recorder(tmp_path / "history.jsonl") as recorder:
        yield recorder


def _lead(*nodes: str) -> dict[str, tuple[Role, ...]]:
    return {**{f"kv-{n}": (Role("replica"),) for n in (1, 2, 3)}, **{node: (Role("primary"),) for node in nodes}}


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([_lead("kv-1"), _lead("kv-1")], ["kv-1"]),
        ([_lead(), _lead("kv-1")], ["kv-1"]),
        ([_lead("kv-1"), {}, _lead("kv-1")], ["kv-1", None, "kv-1"]),
        ([_lead("kv-1"), _lead("kv-1", "kv-2"), _lead("kv-2")], ["kv-1", "kv-2", "kv-2"]),
        ([_lead("kv-1"), _lead("kv-2", "kv-3")], ["kv-1", "kv-2", "kv-3"]),
        ([{}, {}], []),
    ],
)
def test_changes_are_told(recorder: Recorder, looks: list[Any], told: list[str | None]) -> None:
    LOOKS[:] = looks
    observer = Observer([_running()], recorder, lambda: 7)
    for _ in looks:
        observer.look()
    assert [(op.process, op.f, op.key, op.value) for op in recorder.history] == [
        ("observer", "leader", "kv", node) for node in told
    ]
    assert set(ASKED) == {TIMEOUT_S}


def test_what_a_component_stands_on_is_watched_too_and_once() -> None:
    cache = _running("cache")
    sentinel = replace(_running("sentinel"), needs={"cache": cache})
    api = replace(_running("api"), needs={"cache": cache, "sentinel": sentinel})
    assert [one.group.name for one in with_needs(api)] == ["api", "cache", "sentinel"]
