"""The one question behind `clusterkit logs`: now, made anew, archived, our own steps, and the filters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from clusterkit.components.base import LogFormat
from clusterkit.journal import Entry, Journal
from clusterkit.logs import query
from clusterkit.logs.archive import archive
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.own import file_listener
from clusterkit.logs.query import Filter, Scope
from tests.unit.logs.fake_engine import BORN, START, FakeEngine


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    """a-1 was made anew in this life; b-1 was removed in it; our own steps stand among their lines."""
    engine = FakeEngine()
    a_old, b = engine.make("a-1", "old-a-000000"), engine.make("b-1", "gone-b-00000")
    engine.write("a-1", "a old", "INFO a old still", time_ns=START + 10)
    engine.write("b-1", "ERROR b", "\tat b", time_ns=START + 10)
    archive(engine, [a_old, b], tmp_path, Journal())
    engine.remove("a-1")
    engine.remove("b-1")
    engine.make("a-1", "new-a-000000")
    engine.write("a-1", "WARN a new", time_ns=START + 30)
    listen = file_listener(tmp_path)
    listen(Entry(int(BORN) - 5, "create the network", phase="start"))
    listen(Entry(START + 20, "make a-1 anew", node="a-1", component="a"))
    return engine


def _scope(engine: FakeEngine, folder: Path) -> Scope:
    return Scope("shop", engine.find("shop"), (folder,), lambda _kind: LogFormat())


def _texts(entries: Iterable[LogEntry]) -> list[str]:
    return [entry.text for entry in entries]


def test_this_life_in_one_timeline(engine: FakeEngine, tmp_path: Path) -> None:
    entries = list(query.read(engine, _scope(engine, tmp_path), Filter()))
    assert _texts(entries) == [
        "create the network ...",
        "a old",
        "INFO a old still",
        "ERROR b\n\tat b",
        "make a-1 anew",
        "WARN a new",
    ]
    assert [entry.level for entry in entries] == ["info", "", "info", "error", "info", "warning"]
    assert [entry.runtime_id for entry in entries if entry.node == "a-1"] == ["old-a-000000"] * 2 + ["new-a-000000"]
    assert [entry.seq for entry in entries if entry.node == "a-1"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("wanted", "texts"),
    [
        (Filter(since_ns=START + 20), ["make a-1 anew", "WARN a new"]),
        (Filter(until_ns=START), ["create the network ..."]),
        (Filter(level="warning"), ["ERROR b\n\tat b", "WARN a new"]),
        (Filter(level="error"), ["ERROR b\n\tat b"]),
        (Filter(grep=re.compile("at b$")), ["ERROR b\n\tat b"]),
        (Filter(grep=re.compile("A NEW", re.IGNORECASE)), ["WARN a new"]),
        (Filter(tail=2), ["make a-1 anew", "WARN a new"]),
        (Filter(tail=1, grep=re.compile("old")), ["INFO a old still"]),
        (Filter(tail=0), []),
    ],
)
def test_filters(engine: FakeEngine, tmp_path: Path, wanted: Filter, texts: list[str]) -> None:
    assert _texts(query.read(engine, _scope(engine, tmp_path), wanted)) == texts


def test_only_some_nodes_and_no_own_steps(engine: FakeEngine, tmp_path: Path) -> None:
    base = _scope(engine, tmp_path)
    some = Scope(
        base.cluster,
        base.record,
        base.folders,
        base.formats,
        nodes=lambda record: record.name == "b-1",
        own=lambda step: step.about_nodes == ("b-1",),
    )
    assert _texts(query.read(engine, some, Filter())) == ["ERROR b\n\tat b"]


def test_the_archive_alone_after_a_down(engine: FakeEngine, tmp_path: Path) -> None:
    archive(engine, list(engine.nodes.values()), tmp_path, Journal())
    scope = Scope("shop", None, (tmp_path,), lambda _kind: LogFormat())
    expected = _texts(query.read(engine, _scope(engine, tmp_path), Filter()))
    asked = engine.asked
    assert _texts(query.read_archived(scope, Filter())) == expected
    assert engine.asked == asked
    assert [record.name for record in query.nodes_of(scope)] == ["a-1", "b-1"]


def test_an_empty_archive_has_no_entries(tmp_path: Path) -> None:
    assert list(query.read_archived(Scope("shop", None, (tmp_path,), lambda _kind: LogFormat()), Filter())) == []


def test_following_goes_on_where_the_past_ends(engine: FakeEngine, tmp_path: Path) -> None:
    """`tail` bounds the past alone; lines of the same nanosecond are neither doubled nor lost."""
    entries = query.read_and_follow(engine, _scope(engine, tmp_path), Filter(tail=1))
    assert next(entries).text == "WARN a new"
    engine.write("a-1", "next", time_ns=START + 30)
    file_listener(tmp_path)(Entry(START + 31, "our step"))
    assert {next(entries).text, next(entries).text} == {"next", "our step"}
    engine.remove("a-1")
    assert list(entries) == []
