"""Published results beside our runs: the rows are topologies, the page says no more than what was run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.known_results import (
    Run,
    acknowledged,
    batches,
    digest_of,
    digest_of_code,
    due_seeds,
    judged,
    numbers,
    page,
    topology,
)
from benchmarks.known_rows import ROWS, Row
from clusterkit.check_topology import read_topology

HOLDS = next(row for row in ROWS if not row.refuted)
BREAKS = next(row for row in ROWS if row.refuted == "set")


def run(row: Row, verdict: str, *refuted: str) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "refuted": list(refuted),
        "found": [f"{name}: this | that" for name in refuted],
        "ok": 1234,
        "acknowledged": 567,
        "lost": 8 if refuted else 0,
        "stale": 0,
        "gap_s": 1.25,
        "version": "1.2-3",
        "command": f"clusterkit chaos-test {row.key} --time {row.time} --seed 1",
        "history": "0123456789ab",
        "row": digest_of(row),
        "code": "ba9876543210",
        "date": "2026-11-24",
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_each_row_is_a_topology_with_its_scenario_and_names_its_source(row: Row, tmp_path: Path) -> None:
    (tmp_path / "clusterkit.yml").write_text(topology("known", [row]))
    read, _ = read_topology(tmp_path / "clusterkit.yml", folder=tmp_path, environ={})
    assert list(read.scenarios) == [row.key]
    assert row.system.node.rpartition("-")[0] in read.components
    assert row.sources
    assert all(url.startswith("https://") for url in row.sources)
    assert row.refuted in ("", "set", "queue", "bank", "counter", "linearizable", "convergence")


def test_rows_have_names_of_their_own() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_only_what_is_run_changes_the_digest_of_a_row() -> None:
    assert digest_of(replace(HOLDS, published="something else", reason="why")) == digest_of(HOLDS)
    assert digest_of(replace(HOLDS, time="1s")) != digest_of(HOLDS)
    assert digest_of(replace(HOLDS, faults=HOLDS.faults[:1])) != digest_of(HOLDS)


def test_the_code_of_one_system_is_not_that_of_another() -> None:
    assert len({digest_of_code(row.system) for row in ROWS if row.system.name in ("etcd", "nats", "zookeeper")}) == 3


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["valid", "valid"], "agrees"),
        (["valid", "unknown"], "not proved: 1 of 2 unknown, 1 of 2 valid"),
        (["valid", "invalid"], "differs, not yet understood"),
    ],
)
def test_a_system_that_holds_must_be_valid_in_all_runs(verdicts: list[str], said: str) -> None:
    assert judged(HOLDS, [run(HOLDS, verdict) for verdict in verdicts]) == said


def test_what_breaks_must_be_found_once_by_the_checker_that_looks_for_it() -> None:
    found, held, other = run(BREAKS, "invalid", "set"), run(BREAKS, "valid"), run(BREAKS, "invalid", "logs")
    assert judged(BREAKS, [held, found]) == "agrees"
    assert judged(BREAKS, [held, other]) == "differs, not yet understood"
    assert judged(replace(BREAKS, reason="too short a cut"), [held]) == "differs: too short a cut"


def test_a_row_without_a_run_or_with_one_of_another_scenario_is_not_written() -> None:
    old = {**run(BREAKS, "invalid", "set"), "row": "of another day"}
    text = page({HOLDS.key: {"2": run(HOLDS, "valid")}, BREAKS.key: {"1": old}})
    assert HOLDS.key in text
    assert BREAKS.key not in text


def test_the_page_shows_each_seed_with_its_numbers_source_command_and_digests() -> None:
    text = page({BREAKS.key: {"10": run(BREAKS, "valid"), "9": run(BREAKS, "invalid", "set")}})
    assert "| 1 of 2 invalid, 1 of 2 valid | agrees |" in text
    assert "| 9 | invalid | 1234 | 567 | 8 | 0 | 1.2 s | set: this \\| that | `0123456789ab` |" in text
    assert text.index("| 9 | invalid") < text.index("| 10 | valid")
    assert f"1.2-3, `{BREAKS.system.components}`" in text
    assert f"[source]({BREAKS.sources[0]})" in text
    assert f"`clusterkit chaos-test {BREAKS.key} --time {BREAKS.time} --seed 1`" in text
    assert "`ba9876543210` (2026-11-24)" in text


def test_a_run_is_due_when_it_is_missing_or_its_row_or_code_is_another() -> None:
    kept = {**run(HOLDS, "valid"), "code": digest_of_code(HOLDS.system)}
    runs: dict[str, Run] = {"1": kept, "2": {**kept, "code": "older"}, "3": {**kept, "row": "other"}, "5": kept}
    assert due_seeds({HOLDS.key: runs}, HOLDS, 6) == [2, 3, 4, 6]
    assert due_seeds({}, HOLDS, 2) == [1, 2]


def test_seeds_that_follow_each_other_are_run_in_one_call_but_never_many() -> None:
    assert batches([1, 2, 3, 4, 5]) == [(1, 3), (4, 2)]
    assert batches([2, 4, 5]) == [(2, 1), (4, 2)]
    assert batches([]) == []


def test_numbers_are_those_of_the_checkers() -> None:
    result = {
        "verdict": "invalid",
        "counts": {"calls": 30, "ok": 20, "fail": 9, "info": 1},
        "reasons": ["a fault did not bite"],
        "verdicts": [
            {
                "checker": "set",
                "verdict": "invalid",
                "text": "2 lost: 5, 6",
                "numbers": {"acknowledged": 10, "lost": 2},
            },
            {"checker": "convergence", "verdict": "unknown", "text": "nobody was asked", "numbers": {}},
            {"checker": "recovery", "verdict": "valid", "text": "healthy again", "numbers": {}},
            {
                "checker": "availability",
                "verdict": "valid",
                "text": "at most 2 s",
                "numbers": {"longest time without an ok, s": 2.0},
            },
        ],
    }
    assert numbers(result) == {
        "verdict": "invalid",
        "ok": 20,
        "acknowledged": 10,
        "lost": 2,
        "gap_s": 2.0,
        "refuted": ["set"],
        "found": ["set: 2 lost: 5, 6", "convergence: nobody was asked", "a fault did not bite"],
    }


def test_acknowledged_are_the_writes_of_clients_that_were_ok() -> None:
    history = """\
{"index":0,"process":"nemesis","type":"ok","f":"kill","time_ns":1}
{"index":1,"process":1,"type":"invoke","f":"write","time_ns":2,"value":1}
{"index":2,"process":1,"type":"ok","f":"write","time_ns":3,"value":1}
{"index":3,"process":2,"type":"ok","f":"read","time_ns":4,"value":1}
{"index":4,"process":3,"type":"info","f":"write","time_ns":5,"value":2}
{"index":5,"process":1,"type":"ok","f":"cas","time_ns":6,"value":[1,3]}
"""
    assert acknowledged(history) == 2
