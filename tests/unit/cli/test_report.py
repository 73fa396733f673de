"""`clusterkit report` and `clusterkit runs`, on stored runs and without an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterkit.cli import main
from tests.unit.report.stored_runs import cut_run, invalid_run, valid_run

TOPOLOGY = "name: shop\ncomponents: {cache: {kind: redis}}\n"
FIRST, SECOND, THIRD = "20260921-100000-primary-loss", "20260921-110000-primary-loss", "20260921-120000-primary-loss"


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder where three tests were run: valid, invalid, and the latest was killed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY)
    folder = tmp_path / ".clusterkit" / "shop" / "runs"
    valid_run(folder / FIRST)
    invalid_run(folder / SECOND, calls=1000)
    cut_run(folder / THIRD)
    (folder / "latest").symlink_to(THIRD)
    return folder


@pytest.mark.parametrize(
    ("name", "code", "verdict"), [(FIRST, 0, "VALID: "), (SECOND, 1, "INVALID: "), (THIRD, 2, "UNKNOWN: ")]
)
def test_the_exit_code_is_the_verdict(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, verdict: str
) -> None:
    ended, out, _ = call(capsys, "report", name)
    assert (ended, out[: len(verdict)]) == (code, verdict)
    assert {"summary.txt", "junit.xml", "report.html"} <= {path.name for path in (runs / name).iterdir()}
    assert f"report: {(runs / name / 'report.html').relative_to(Path.cwd())}\n" in out


def test_the_latest_is_told_by_its_own_name(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["report"], ["report", "latest"], ["report", "--name", "shop"]):
        code, out, _ = call(capsys, *words)
        assert code == 2
        assert f"report: {(runs / THIRD / 'report.html').relative_to(Path.cwd())}\n" in out
        assert "runs/latest" not in out


def test_a_folder_needs_no_topology(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert call(capsys, "report", str(runs / FIRST))[0] == 0


def test_open_shows_the_page(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    call(capsys, "report", FIRST, "--open")
    assert opened == [str(runs / FIRST / "report.html")]


def test_a_run_that_is_not_there(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "report", "yesterday")
    assert (code, out) == (64, "")
    assert "there is no run" in err
    assert "clusterkit runs" in err


def test_before_the_first_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY)
    code, _, err = call(capsys, "report")
    assert code == 64
    assert "there is no run yet in .clusterkit/shop/runs" in err
    assert call(capsys, "runs")[1].startswith("no run yet in .clusterkit/shop/runs")
    assert json.loads(call(capsys, "runs", "--format", "json")[1]) == []


def test_runs_lists_them_by_age(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "runs")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["WHEN", "SCENARIO", "SEED", "VERDICT", "CALLS", "LONGEST", "GAP", "FOLDER"]
    assert [line.split()[-1].rpartition("/")[2] for line in lines[1:]] == [FIRST, SECOND, THIRD]
    assert [line.split()[4] for line in lines[1:]] == ["valid", "invalid", "unknown"]


def test_runs_as_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(call(capsys, "runs", "--format", "json")[1])
    assert [one["verdict"] for one in found] == ["valid", "invalid", "unknown"]
    assert found[0]["folder"] == str(runs / FIRST)
    assert found[0]["seed"] == 7
    assert found[0]["calls"] == json.loads((runs / FIRST / "result.json").read_text())["counts"]["calls"]
    assert found[0]["longest_gap_s"] > 2.9
    assert found[2]["calls"] is None
