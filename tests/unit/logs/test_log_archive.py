"""The whole log of a node outlives it: complete, readable without anything else, written whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterkit.errors import EngineUnreachable, EnvironmentTrouble
from clusterkit.journal import Entry, Journal
from clusterkit.logs.archive import archive, find_archives, last_life, read_archive
from clusterkit.providers.base import LogLine, NodeRecord
from tests.unit.logs.fake_engine import BORN, START, FakeEngine, node_record

NASTY = ["plain", "", "tab\there", 'quote " and \\', "unicode ü \u2028 \x85 \x1b[31m", "nul \x00", "\ufffd"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _engine() -> FakeEngine:
    engine = FakeEngine()
    engine.make("cache-1", "0123456789abcdef")
    engine.write("cache-1", *NASTY, time_ns=START + 1)
    with engine.changed:
        engine.lines["0123456789abcdef"].append(LogLine(START + 2, "stderr", "last"))
    return engine


def test_reads_back_what_was_written_and_whose_it_was(tmp_path: Path) -> None:
    engine = _engine()
    record = engine.nodes["cache-1"]
    assert archive(engine, [record], tmp_path, Journal()) == len(NASTY) + 1
    (kept,) = find_archives([tmp_path], "shop")
    assert kept.path == tmp_path / "logs" / BORN / "cache-1.0123456789ab.jsonl.gz"
    assert list(read_archive(kept)) == engine.lines["0123456789abcdef"]
    assert list(read_archive(kept, START + 2)) == [LogLine(START + 2, "stderr", "last")]
    assert (kept.node, kept.component, kept.kind, kept.zone) == ("cache-1", "cache", "service", "a")
    assert (kept.cluster, kept.born, kept.runtime_id, kept.index) == ("shop", BORN, "0123456789abcdef", 1)
    assert kept.record.name == "cache-1"
    with gzip.open(kept.path, "rt") as file:
        head, first, *_ = file.read().split("\n")
    assert json.loads(head)["clusterkit_log"] == 1
    assert json.loads(first) == {"t": START + 1, "s": "o", "m": "plain"}


def test_twice_is_one_file_with_what_has_come_since(tmp_path: Path) -> None:
    engine = _engine()
    record = engine.nodes["cache-1"]
    archive(engine, [record], tmp_path, Journal())
    engine.write("cache-1", "more", time_ns=START + 3)
    assert archive(engine, [record], tmp_path, Journal()) == len(NASTY) + 2
    (kept,) = find_archives([tmp_path], "shop")
    assert [line.text for line in read_archive(kept)][-2:] == ["last", "more"]
    assert len(list((tmp_path / "logs" / BORN).iterdir())) == 1


def test_many_nodes_side_by_side(tmp_path: Path) -> None:
    engine = FakeEngine()
    records = [engine.make(f"n-{number}", f"{number:012d}-rest-of-id") for number in range(40)]
    for record in records:
        engine.write(record.name, *["x"] * record.index, time_ns=START)
    assert archive(engine, records, tmp_path, Journal()) == sum(range(40))
    kept = find_archives([tmp_path], "shop")
    assert {each.node: len(list(read_archive(each))) for each in kept} == {f"n-{n}": n for n in range(40)}
    known = [records[0].runtime_id, records[1].runtime_id]
    assert len(find_archives([tmp_path], "shop", known=known)) == 38


def test_a_reading_that_breaks_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    class Breaking(FakeEngine):
        def logs(self, record: NodeRecord, since_ns: int = 0, follow: bool = False) -> Iterator[LogLine]:
            yield LogLine(START, "stdout", record.name)
            raise EngineUnreachable(f"gone {since_ns} {follow}")

    engine = _engine()
    archive(engine, list(engine.nodes.values()), tmp_path, Journal())
    with pytest.raises(EngineUnreachable):
        archive(Breaking(), list(engine.nodes.values()), tmp_path, Journal())
    (path,) = (tmp_path / "logs" / BORN).iterdir()
    (kept,) = find_archives([tmp_path], "shop")
    assert kept.path == path
    assert len(list(read_archive(kept))) == len(NASTY) + 1


def test_where_the_folder_cannot_be_written_the_cache_takes_it_and_the_journal_says_so(
    tmp_path: Path, cache: Path
) -> None:
    engine = _engine()
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    told: list[Entry] = []
    archive(engine, list(engine.nodes.values()), blocked, Journal(told.append))
    assert [(entry.level, entry.node) for entry in told] == [("warning", "cache-1")]
    assert str(blocked) in told[0].text
    (kept,) = find_archives([tmp_path], "shop")
    assert kept.path.is_relative_to(cache / "clusterkit" / "logs" / "shop")


def test_a_log_that_can_be_kept_nowhere_is_an_error(tmp_path: Path, cache: Path) -> None:
    engine = _engine()
    cache.write_text("no folder")
    with pytest.raises(EnvironmentTrouble, match="neither in"):
        archive(engine, list(engine.nodes.values()), cache, Journal())
    assert list(tmp_path.iterdir()) == [cache]


def test_a_node_that_is_gone_has_no_log(tmp_path: Path) -> None:
    assert archive(FakeEngine(), [node_record("cache-9")], tmp_path, Journal()) == 0
    assert find_archives([tmp_path], "shop") == ()
    assert archive(FakeEngine(), [], tmp_path, Journal()) == 0


def test_lives_are_told_apart_and_other_clusters_left_out(tmp_path: Path) -> None:
    engine = FakeEngine()
    made = [
        NodeRecord("a-1", cluster, "a", "service", "a", 1, "", {}, {}, runtime_id, engine_state, born=born)
        for cluster, runtime_id, born, engine_state in (
            ("shop", "first-life-1", "900", node_record("a-1").state),
            ("shop", "second-life-", "1000", node_record("a-1").state),
            ("shop", "no-network--", "", node_record("a-1").state),
            ("other", "other-cluste", "2000", node_record("a-1").state),
        )
    ]
    for record in made:
        engine.lines[record.runtime_id], engine.runs[record.runtime_id] = [], 1
    archive(engine, made, tmp_path, Journal())
    kept = find_archives([tmp_path, tmp_path], "shop")
    assert [each.born for each in kept] == ["", "900", "1000"]
    assert last_life(kept) == "1000"
    assert [each.born for each in find_archives([tmp_path], "shop", "900")] == ["900"]
    assert [each.born for each in find_archives([tmp_path], "shop", "")] == [""]
    assert last_life([]) is None
