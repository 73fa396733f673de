"""Following: restarts, nodes made anew, new nodes, nodes that came and went; each line once, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterkit.components.base import LogFormat
from clusterkit.errors import EngineUnreachable
from clusterkit.journal import Journal
from clusterkit.logs.archive import archive
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.follow import Cursor, Wanted, follow
from clusterkit.providers.base import ClusterRecord
from tests.unit.logs.fake_engine import START, FakeEngine

LIMIT = 10.0


class Following:
    """Follows in a thread, so that a test can act and then wait for what has to be seen."""

    def __init__(self, engine: FakeEngine, folder: Path, **more: object) -> None:
        self.seen: list[LogEntry] = []
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        wanted = Wanted("shop", (folder,), lambda _kind: LogFormat())
        self._entries = follow(engine, wanted, poll=0.01, hold=0.02, **more)  # type: ignore[arg-type]  # passed on
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for entry in self._entries:
                with self._changed:
                    self.seen.append(entry)
                    self._changed.notify_all()
        except EngineUnreachable as error:
            self.error = error

    def texts(self) -> list[str]:
        return [entry.text for entry in self.seen]

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, LIMIT):
                pytest.fail(f"not seen in {LIMIT} s; seen: {self.texts()}")

    def until_texts(self, *texts: str) -> None:
        self.until(lambda: len(self.seen) >= len(texts))
        assert self.texts() == list(texts)

    def until_end(self) -> None:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    with made.changed:
        made.nodes.clear()
        made.changed.notify_all()


def _numbered(begin: int, end: int) -> list[str]:
    return [f"line {number}" for number in range(begin, end)]


def test_a_restarted_node_is_read_on(engine: FakeEngine, tmp_path: Path) -> None:
    """All lines carry one nanosecond, so that only their count can tell the new from the old."""
    engine.make("a-1")
    engine.write("a-1", *_numbered(0, 500), time_ns=START)
    following = Following(engine, tmp_path)
    following.until_texts(*_numbered(0, 500))
    engine.end("a-1")
    engine.write("a-1", *_numbered(500, 510), time_ns=START)
    engine.start("a-1")
    engine.write("a-1", *_numbered(510, 1000), time_ns=START)
    following.until_texts(*_numbered(0, 1000))
    engine.remove("a-1")
    following.until_end()
    assert following.texts() == _numbered(0, 1000)


def test_the_last_lines_of_a_node_made_anew_come_from_its_archive(engine: FakeEngine, tmp_path: Path) -> None:
    old = engine.make("a-1", "old-container-1")
    engine.write("a-1", "one", "two", time_ns=START)
    following = Following(engine, tmp_path)
    following.until_texts("one", "two")
    with engine.changed:  # everything between two looks of ours
        engine.end("a-1")
        engine.write("a-1", "last words", time_ns=START + 1)
        archive(engine, [old], tmp_path, Journal())
        engine.remove("a-1")
        engine.make("a-1", "new-container-1")
        engine.write("a-1", "begun anew", time_ns=START + 2)
    following.until_texts("one", "two", "last words", "begun anew")
    assert [entry.runtime_id for entry in following.seen] == ["old-container-1"] * 3 + ["new-container-1"]


def test_a_new_node_is_read_from_its_first_line(engine: FakeEngine, tmp_path: Path) -> None:
    engine.make("a-1")
    engine.write("a-1", "one", time_ns=START)
    following = Following(engine, tmp_path, order=["a-1"])
    following.until_texts("one")
    engine.make("a-2")
    engine.write("a-2", "first of a-2", time_ns=START + 1)
    following.until_texts("one", "first of a-2")


def test_a_node_that_came_and_went_between_two_looks_is_told_from_its_archive(
    engine: FakeEngine, tmp_path: Path
) -> None:
    engine.make("a-1")
    engine.write("a-1", "one", time_ns=START)
    following = Following(engine, tmp_path)
    following.until_texts("one")
    with engine.changed:
        short = engine.make("b-1")
        engine.write("b-1", "short life", time_ns=START + 1)
        archive(engine, [short], tmp_path, Journal())
        engine.remove("b-1")
    following.until_texts("one", "short life")


def test_waits_for_a_cluster_and_ends_with_it(engine: FakeEngine, tmp_path: Path) -> None:
    following = Following(engine, tmp_path)
    engine.make("a-1")
    engine.write("a-1", "one", time_ns=START)
    following.until_texts("one")
    engine.remove("a-1")
    following.until_end()
    assert following.texts() == ["one"]


def test_goes_on_from_what_was_read_before(engine: FakeEngine, tmp_path: Path) -> None:
    record = engine.make("a-1")
    engine.write("a-1", "one", "two", "three", time_ns=START)
    cursor = Cursor()
    cursor.take(START)
    cursor.take(START)
    following = Following(engine, tmp_path, cursors={record.runtime_id: cursor})
    following.until_texts("three")


def test_a_trace_is_one_entry_also_while_following(engine: FakeEngine, tmp_path: Path) -> None:
    engine.make("a-1")
    following = Following(engine, tmp_path)
    engine.write("a-1", "java.lang.Error: x", "\tat a.B.c(B.java:1)", "Caused by: y", time_ns=START)
    following.until_texts("java.lang.Error: x\n\tat a.B.c(B.java:1)\nCaused by: y")


def test_an_engine_that_goes_away_is_an_error(tmp_path: Path) -> None:
    class Failing(FakeEngine):
        def find(self, cluster: str) -> ClusterRecord | None:
            raise EngineUnreachable(f"the engine does not answer about {cluster}")

    following = Following(Failing(), tmp_path)
    following.until_end()
    assert str(following.error) == "the engine does not answer about shop"


def test_closing_ends_all_threads(engine: FakeEngine, tmp_path: Path) -> None:
    engine.make("a-1")
    engine.write("a-1", "one", time_ns=START)
    entries = follow(engine, Wanted("shop", (tmp_path,), lambda _kind: LogFormat()), poll=0.01, hold=0.0)
    assert next(entries).text == "one"
    entries.close()
    deadline = time.monotonic() + LIMIT
    while any(thread.name in ("nodes", "log of a-1") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
