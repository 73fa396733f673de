"""The doctor on this machine: every probe is really tried, and leaves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from clusterkit.doctor import LABEL, PROBES, examine, this_machine


def test_a_machine_that_runs_these_tests_is_fit() -> None:
    found = list(examine(this_machine(), PROBES))
    assert [(one.name, one.answer) for one in found if one.is_fatal] == []


def test_nothing_of_its_trials_is_left() -> None:
    machine = this_machine()
    assert machine.engine is not None
    list(examine(machine, PROBES))
    assert machine.engine.containers(all=True, filters={"label": LABEL}) == []
    assert machine.engine.networks(names=["clusterkit-doctor-"]) == []


def test_no_engine_is_said_with_the_mend() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clusterkit", "doctor", "--format", "json"],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "DOCKER_HOST": "unix:///nonexistent.sock"},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    engine = next(row for row in json.loads(done.stdout) if row["name"] == "engine")
    assert done.returncode == 69
    assert engine["status"] == "missing"
    assert "unix:///nonexistent.sock" in engine["text"]
    assert engine["mend"]
