"""`clusterkit validate` and `clusterkit schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterkit.cli import main
from clusterkit.cli.options import Quantity
from clusterkit.units import Duration


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(str(ended.value.code)), said.out, said.err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clusterkit.yml").write_text("name: shop\ncomponents: {etcd: , cache: {kind: redis, replicas: 1}}\n")
    return tmp_path


def test_a_valid_topology(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "validate") == (0, "clusterkit.yml: valid, 2 components, 4 nodes\n", "")


def test_another_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "one.yml").write_text("name: one\ncomponents: {redis: {replicas: 1}}\nlogging: {ship: 1, limit: 2MB}\n")
    code, out, err = run(capsys, "validate", "-f", "one.yml")
    assert (code, out) == (0, "one.yml: valid, 1 component, 1 node\n")
    assert err == "note: logging.ship is read, but not acted on yet\n"


def test_problems_go_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clusterkit.yml").write_text("name: shop\ncomponents:\n  cache: {kind: redsi}\n  etcd: {replicas: 0}\n")
    code, out, err = run(capsys, "validate")
    assert (code, out) == (64, "")
    assert err.splitlines()[0] == 'clusterkit.yml:3:17: unknown kind "redsi"'
    assert err.splitlines()[1] == '  mend: did you mean "redis"?'
    assert err.splitlines()[2].startswith("clusterkit.yml:4:20: replicas must be")


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "validate", "--format", "json")
    assert code == 0
    assert json.loads(out)["components"]["cache"] == {"kind": "redis", "nodes": ["cache-1"]}
    (folder / "clusterkit.yml").write_text("components: {cache: {kind: redsi}}\n")
    code, out, err = run(capsys, "validate", "--format", "json")
    assert (code, err) == (64, "")
    assert json.loads(out)["problems"] == [
        {
            "file": "clusterkit.yml",
            "line": 1,
            "column": 28,
            "what": 'unknown kind "redsi"',
            "mend": 'did you mean "redis"?',
        }
    ]


def test_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clusterkit.yml").unlink()
    code, _, err = run(capsys, "validate")
    assert code == 64
    assert "there is no clusterkit.yml" in err
    code, _, err = run(capsys, "validate", "-f", "gone.yml")
    assert code == 64
    assert err.startswith("gone.yml:1:1: there is no such file")


def test_the_schema_is_printed_or_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "schema")
    assert code == 0
    assert json.loads(out)["$schema"].endswith("2020-12/schema")
    code, nothing, _ = run(capsys, "schema", "-o", "s.json")
    assert (code, nothing) == (0, "")
    assert (folder / "s.json").read_text() == out
    code, _, err = run(capsys, "schema", "-o", "no/such/folder/s.json")
    assert code == 64
    assert "cannot be written" in err


def test_quantities_are_options_too() -> None:
    assert Quantity(Duration).convert("1m", None, None) == Duration(60)
