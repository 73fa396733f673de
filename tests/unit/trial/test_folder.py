"""The folder of a run: a new one each time, `latest` leads to it, and what is written is whole."""

from __future__ import annotations

import json
from pathlib import Path

from clusterkit.trial.folder import copy_topology, new_folder, write_json

STARTED_NS = 1_795_445_662_000_000_000


def test_each_run_has_a_folder_of_its_own_and_latest_is_the_last(tmp_path: Path) -> None:
    first = new_folder(tmp_path, "leader loss!", STARTED_NS)
    second = new_folder(tmp_path, "leader loss!", STARTED_NS)
    assert first.name == "20261123-145422-leader-loss-"
    assert second.name == "20261123-145422-leader-loss--2"
    assert (tmp_path / "runs" / "latest").resolve() == second
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [first.name, second.name, "latest"]


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": Path("x")})
    write_json(tmp_path / "run.json", {"a": "ü"})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {"a": "ü"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_topology_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    copy_topology(tmp_path, tmp_path / "gone.yml")
    assert list(tmp_path.iterdir()) == []
