"""SIGKILL of `up` and `down` in every one of their steps: the next `down` leaves nothing, the next `up` is whole."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Folder, left_of

NINE = """
components:
  registry: {kind: etcd}
  cache: {kind: redis}
  sentinel: {kind: redis-sentinel, watches: cache}
"""


@dataclass(frozen=True)
class Step:
    """A step of an undisturbed run: its text, and how many seconds it took."""

    text: str
    seconds: float


def _entries(folder: Folder, run: str | None = None) -> list[dict[str, str]]:
    path = folder.path / ".clusterkit" / folder.name / "clusterkit.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    entries = [json.loads(line) for line in lines[:-1]]
    return [entry for entry in entries if run is None or entry["run"] == run]


def _steps(folder: Folder) -> list[Step]:
    """The steps of the last process that wrote, with the seconds they took."""
    run = _entries(folder)[-1]["run"]
    return [Step(entry["text"], float(entry["seconds"])) for entry in _entries(folder, run) if entry["phase"] == "end"]


def _kill_in(folder: Folder, verb: str, step: Step, fraction: float) -> bool:
    """Runs a verb and kills it in a step; False when the verb had ended before."""
    path = folder.path / ".clusterkit" / folder.name / "clusterkit.jsonl"
    size = path.stat().st_size
    process = folder.begin(verb)
    try:
        while process.poll() is None:
            with path.open("rb") as file:
                file.seek(size)
                new = [json.loads(line) for line in file.read().split(b"\n")[:-1]]
            if any(entry["text"] == step.text and entry["phase"] == "start" for entry in new):
                time.sleep(step.seconds * fraction)
                break
            time.sleep(0.001)
        is_under_way = process.poll() is None
    finally:
        process.kill()
        process.wait()
    return is_under_way


def _hit(folder: Folder, verb: str, step: Step, fraction: float) -> bool:
    """Kills in a step. Some take only milliseconds: where one was missed, it is tried again from its very start."""
    for moment in (fraction, *[0.0] * 9):
        if verb == "down":
            folder.run("up")
        is_hit = _kill_in(folder, verb, step, moment)
        folder.run("down")
        assert left_of(folder.name) == [], f"{verb}: {step.text} at {moment:.0%}"
        if is_hit:
            return True
    return False


def _sweep(folder: Folder, fractions: list[float]) -> list[str]:
    """Kills in every step of `up`, then of `down`; gives back what was hit, one line a kill."""
    folder.write(NINE)
    folder.run("up")  # makes the images where they are not there yet: tests/integration/test_images.py kills that
    folder.run("down")
    folder.run("up")
    ups = _steps(folder)
    folder.run("down")
    downs = _steps(folder)
    hit: list[str] = []
    for verb, steps in (("up", ups), ("down", downs)):
        for step in steps:
            hit += [f"{verb}: {step.text} at {at:.0%}" for at in fractions if _hit(folder, verb, step, at)]
    missed = {f"up: {step.text}" for step in ups} | {f"down: {step.text}" for step in downs}
    missed -= {line.rsplit(" at ", 1)[0] for line in hit}
    assert not missed
    return hit


def test_killed_once_in_each_step(folder: Folder, record_property: Callable[[str, object], None]) -> None:
    for line in _sweep(folder, [0.3]):
        record_property("killed", line)


@pytest.mark.long
def test_killed_at_fifty_moments(folder: Folder, tmp_path: Path) -> None:
    hit = _sweep(folder, [0.0, 0.2, 0.4, 0.6, 0.8])
    (tmp_path / "killed.txt").write_text("\n".join(hit))
    print("\n".join(hit))
    assert len(hit) >= 50


def test_a_killed_up_is_completed_by_the_next(folder: Folder) -> None:
    folder.write(NINE)
    process: subprocess.Popen[bytes] = folder.begin("up")
    while len(left_of(folder.name)) < 8:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    folder.run("up")
    assert {node["health"] for node in folder.nodes().values()} == {"healthy"}
    assert len(folder.nodes()) == 9
