"""`clusterkit logs --run`: the kept lines of a chaos test, asked as those of a cluster that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from clusterkit.cli.logs import command
from clusterkit.logs.entry import OWN, LogEntry
from clusterkit.logs.kept import keep

SECOND = 10**9


def _line(at: int, node: str, text: str, level: str = "info") -> LogEntry:
    component = OWN if node == OWN else node.rpartition("-")[0]
    return LogEntry(at * SECOND, node, component, "ab"[node.endswith("2")], "stdout", level, text, "", at)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    kept = [
        _line(1, "kv-1", "hello"),
        _line(2, "kv-2", "trace_id=7f hello"),
        _line(10, OWN, "kill kv-1"),
        _line(11, "kv-2", "lost peer 1", "error"),
        _line(12, "kv-2", "lost peer 2", "error"),
        _line(14, OWN, "healed: kill kv-1"),
        _line(15, "web-1", "up again"),
        _line(30, "kv-1", "bye"),
    ]
    assert list(keep(tmp_path, kept)) == kept
    return tmp_path


def _texts(run: Path, *words: str) -> list[str]:
    done = CliRunner().invoke(command, ["--run", str(run), "--utc", *words], standalone_mode=False)
    assert done.exception is None, done.output
    return [line[13:] for line in done.stdout.splitlines() if not line.startswith("--")]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["kv-1"], ["kv-1       hello", "clusterkit kill kv-1", "clusterkit healed: kill kv-1", "kv-1       bye"]),
        (["kv-1", "--no-own"], ["kv-1       hello", "kv-1       bye"]),
        (["clusterkit"], ["clusterkit kill kv-1", "clusterkit healed: kill kv-1"]),
        (["--zone", "b"], ["kv-2       trace_id=7f hello", "kv-2       lost peer 1", "kv-2       lost peer 2"]),
        (["--trace", "7f"], ["kv-2       trace_id=7f hello"]),
        (["web"], ["web-1      up again"]),
        (
            ["--around", "kill", "--window", "1s", "--level", "error"],
            ["kv-2       lost peer 1", "kv-2       lost peer 2"],
        ),
        (["--around", "kill", "--window", "1s", "web"], ["web-1      up again"]),
    ],
)
def test_what_is_shown(run: Path, words: list[str], shown: list[str]) -> None:
    assert _texts(run, *words) == shown


def test_errors_are_counted(run: Path) -> None:
    done = CliRunner().invoke(command, ["--run", str(run), "--utc", "--errors"])
    assert done.stdout.splitlines()[0].startswith("2 x kv ")
    assert done.stdout.splitlines()[1] == "    lost peer 1"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kw"], "kw"),
        (["--follow"], "--run is of the past, so --follow makes no sense with it"),
        (["--archive"], "--run is of the past, so --archive makes no sense with it"),
        (["--errors", "--tail", "3"], "--errors counts what there is, so --tail makes no sense with it"),
        (["--window", "3s"], "--window says how much of --around"),
        (["--around", "kill", "--since", "5m"], "--around says from when to when"),
        (["--around", "kill", "--window", "3"], '--window: "3" is not a duration'),
        (["--around", "pause"], 'nothing that clusterkit did says "pause"'),
    ],
)
def test_what_makes_no_sense_is_said(run: Path, words: list[str], says: str) -> None:
    done = CliRunner().invoke(command, ["--run", str(run), *words], standalone_mode=False)
    assert says in str(done.exception)


def test_a_run_without_lines_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--run", str(tmp_path)], standalone_mode=False)
    assert "kept no lines: it has no logs.jsonl" in str(done.exception)
