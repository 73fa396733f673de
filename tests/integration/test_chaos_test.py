"""chaos-test on real systems: kept promises, broken ones, and what is left when it is cut off in the middle."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clusterkit.chaos.registry import faults
from tests.integration.conftest import Folder, left_of

pytestmark = pytest.mark.xdist_group("agent")

ROOT = Path(__file__).parents[2]
PROMISES = ROOT / "tests" / "fixtures" / "promises"
ETCD = """
components:
  # Without a password: to log in anew, a client needs a majority, which a member that is cut off does not have.
  registry: {kind: etcd, password: false}
chaos:
  scenarios:
    leader-loss:
      time: 12s
      workload: {kind: register, component: registry}
      faults:
        - {at: 3s, for: 4s, kill: {target: leader of registry}}
      expect: {leader_changes: {at_least: 1}, unavailable: {at_most: 30s}}
    old-reads:
      time: 10s
      workload: {kind: register, component: registry, reads: serializable, keys: 3, rate: 200/s, pinned: all}
      faults:
        - {at: 1s, for: 5s, isolate: leader of registry}
        - {at: 7s, for: 2s, pause: {target: one of registry}}
    nothing-felt:
      time: 6s
      workload: {kind: set, component: registry}
      faults:
        - {at: 1s, for: 3s, pause: {target: boss of registry}}
"""


def _latest(folder: Folder) -> Path:
    return (folder.path / ".clusterkit" / folder.name / "runs" / "latest").resolve()


def _result(folder: Folder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_latest(folder) / "result.json").read_text())
    return found


@pytest.fixture
def etcd(folder: Folder) -> Folder:
    folder.write(ETCD)
    return folder


def test_etcd_keeps_its_promise_and_the_run_says_all_about_it(etcd: Folder) -> None:
    said = etcd.run("chaos-test", "leader-loss", "--seed", "3", "--keep").stdout
    assert "VALID: registry: " in said
    run, result = _latest(etcd), _result(etcd)
    assert {path.name for path in run.iterdir()} == {
        "history.jsonl", "run.json", "result.json", "topology.yml", "scenario.yml", "logs.jsonl", "summary.txt",
        "junit.xml", "report.html",
    }  # fmt: skip
    assert result["verdict"] == "valid"
    assert result["counts"]["ok"] > 500
    assert [one["checker"] for one in result["verdicts"]] == [
        "linearizable", "convergence", "availability", "recovery", "logs",
    ]  # fmt: skip
    assert result["memory_mb"] < 150
    told = json.loads((run / "run.json").read_text())
    assert told["components"]["registry"]["digest"].startswith("sha256:")
    assert told["seed"] == 3
    assert any("etcd" in line for line in (run / "logs.jsonl").read_text().splitlines())
    assert 'failures="0"' in (run / "junit.xml").read_text()
    # Data lies on disks that faults can break, though the topology does not say so.
    assert "data: loop" not in (etcd.path / "clusterkit.yml").read_text()
    assert set(etcd.nodes()) == {"registry-1", "registry-2", "registry-3"}
    # It is judged again, told again, and repeated, fault by fault; the cluster that was up is left as it was.
    assert etcd.run("check", str(run)).stdout.startswith("valid: registry: ")
    assert "VALID: registry: " in etcd.run("report").stdout
    etcd.run("chaos-test", "--replay", str(run), "--time", "9s")
    again = _latest(etcd)
    assert again != run
    items = [(folder / "scenario.yml").read_text().partition("faults:")[2] for folder in (run, again)]
    assert items[0] == items[1]
    assert len(etcd.nodes()) == 3
    assert [one["verdict"] for one in json.loads(etcd.run("runs", "--format", "json").stdout)] == ["valid", "valid"]


def test_old_reads_are_found_with_the_smallest_evidence_and_schedule(etcd: Folder) -> None:
    said = etcd.run("chaos-test", "old-reads", "--seed", "1", "--shrink", code=1).stdout
    assert "INVALID: key " in said
    # A member that is cut off answers with what is old: the other fault is not needed; mostly, not even this one is.
    found = re.search(r"the smallest schedule that still breaks it: ([01]) of 2 faults", said)
    assert found is not None
    assert said.count("  - {") == int(found.group(1))
    runs = sorted((etcd.path / ".clusterkit" / etcd.name / "runs").glob("2*/result.json"))
    first = json.loads(runs[0].read_text())
    verdict = next(one for one in first["verdicts"] if one["checker"] == "linearizable")
    assert 2 <= len(verdict["evidence"]) <= 8
    assert left_of(etcd.name) == []


def test_where_a_fault_was_not_made_nothing_is_proved(etcd: Folder) -> None:
    said = etcd.run("chaos-test", "nothing-felt", code=2).stdout
    assert "UNKNOWN: pause was declined: " in said


def test_redis_loses_what_it_acknowledged_and_the_evidence_names_it(folder: Folder) -> None:
    text = (PROMISES / "redis.yml").read_text().replace("time: 40s", "time: 26s")
    (folder.path / "clusterkit.yml").write_text(text.replace("${NAME:-promises-redis}", folder.name))
    said = folder.run("chaos-test", "--seed", "1", code=1).stdout
    assert "INVALID: " in said
    result = _result(folder)
    lost = next(one for one in result["verdicts"] if one["checker"] == "set")
    assert lost["numbers"]["lost"] > 20
    assert lost["evidence"][0].startswith("lost ")
    assert "add" in lost["evidence"][1]
    assert any("lost at a failover" in one["text"] for one in result["weaknesses"])
    assert left_of(folder.name) == []


def test_ctrl_c_heals_judges_and_reports(etcd: Folder) -> None:
    running = _begin(etcd, "chaos-test", "leader-loss", "--keep")
    _wait_for_fault(etcd)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert _result(etcd)["verdict"] == "unknown"
    assert "interrupted" in (_latest(etcd) / "summary.txt").read_text()
    assert "nothing is broken" in etcd.run("chaos", "status").stdout
    assert all(node["state"] == "running" for node in etcd.nodes().values())


def test_a_run_that_is_killed_can_be_judged_and_the_next_one_starts_clean(etcd: Folder) -> None:
    etcd.run("up")
    running = _begin(etcd, "chaos-test", "old-reads", "--seed", "2")
    _wait_for_fault(etcd)
    running.kill()
    running.wait()
    cut = _latest(etcd)
    judged = etcd.run("check", str(cut), code=None)
    assert judged.returncode in (1, 2)  # old reads may be in it already; if not, it did not come to its end
    etcd.run("report", str(cut), code=2)
    assert (cut / "report.html").is_file()
    assert "VALID" in etcd.run("chaos-test", "leader-loss", "--seed", "4").stdout
    assert "nothing is broken" in etcd.run("chaos", "status").stdout


def _begin(folder: Folder, *words: str) -> subprocess.Popen[bytes]:
    """Does not wait for it. It hears Ctrl-C even where these tests run in the background of a shell."""
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from clusterkit.cli import main; main(sys.argv[1:])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, *words], cwd=folder.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait_for_fault(folder: Folder) -> None:
    """Until the first fault stands in the history."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        history = _latest(folder) / "history.jsonl"
        if history.is_file() and '"inject"' in history.read_text():
            return
        time.sleep(0.1)
    pytest.fail("no fault was made in 90 s")


# -- the examples ----------------------------------------------------------------------------------------------------

EXAMPLES = [
    ("gossip-set", "clusterkit.yml", 1, "resurrected"),
    ("gossip-set", "fixed.yml", 0, ""),
    ("leader-set", "clusterkit.yml", 1, "lost"),
    ("leader-set", "fixed.yml", 0, ""),
]


def _example(folder: Folder, example: str, file: str) -> None:
    shutil.copytree(ROOT / "examples" / example, folder.path, dirs_exist_ok=True)
    text = (folder.path / file).read_text().splitlines()
    named = [f"name: {folder.name}" if line.startswith("name:") else line for line in text]
    (folder.path / file).write_text("\n".join([*named, ""]))


def test_the_mistakes_of_the_examples_are_found_and_the_mended_ones_pass(new_folder: Callable[[], Folder]) -> None:
    """Side by side: four clusters, each with faults of its own, and one agent."""
    folders = [new_folder() for _ in EXAMPLES]

    def judged(folder: Folder, example: str, file: str, code: int) -> dict[str, Any]:
        _example(folder, example, file)
        folder.run("chaos-test", "-f", file, "--seed", "1", code=code)
        return next(one for one in _result(folder)["verdicts"] if one["checker"] == "set")

    with ThreadPoolExecutor(len(EXAMPLES)) as pool:
        runs = [
            pool.submit(judged, folder, example, file, code)
            for folder, (example, file, code, _) in zip(folders, EXAMPLES, strict=True)
        ]
    for run, (example, file, _, kind) in zip(runs, EXAMPLES, strict=True):
        found = run.result()
        assert bool(kind) == (found["verdict"] == "invalid"), f"{example}/{file}: {found['text']}"
        assert kind in found["text"], f"{example}/{file}"


# -- the long ones ---------------------------------------------------------------------------------------------------


def _seeds(folder: Folder, *words: str, code: int) -> list[str]:
    """The verdicts of seeds 1 to 10, none of them run again."""
    done = folder.run(
        "chaos-test", *words, "--seed", "1", "--repeat", "10", "--format", "json", code=code, timeout=1500
    )
    return [one["verdict"] for one in json.loads(done.stdout)]


@pytest.mark.long
@pytest.mark.parametrize(("example", "file", "code", "kind"), EXAMPLES)
def test_an_example_with_ten_seeds(folder: Folder, example: str, file: str, code: int, kind: str) -> None:
    _example(folder, example, file)
    verdicts = _seeds(folder, "-f", file, code=code)
    assert verdicts == ["invalid" if kind else "valid"] * 10


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "scenario", "environment", "verdict"),
    [
        ("etcd.yml", "leader-loss", {}, "valid"),
        ("redis.yml", "split-brain", {}, "invalid"),
    ],
)
def test_a_promise_with_ten_seeds(
    folder: Folder, file: str, scenario: str, environment: dict[str, str], verdict: str
) -> None:
    text = (PROMISES / file).read_text()
    lines = [f"name: {folder.name}" if line.startswith("name:") else line for line in text.splitlines()]
    (folder.path / "clusterkit.yml").write_text("\n".join([*lines, ""]))
    assert _seeds(folder, scenario, code=0 if verdict == "valid" else 1) == [verdict] * 10


@pytest.mark.long
def test_the_default_suite_of_etcd_is_valid_and_that_of_redis_invalid(new_folder: Callable[[], Folder]) -> None:
    etcd, redis = new_folder(), new_folder()
    etcd.write("components: {registry: {kind: etcd}}\n")
    redis.write("components: {cache: {kind: redis}, sentinel: {kind: redis-sentinel, watches: cache}}\n")
    etcd.run("chaos-test", "--seed", "1", timeout=900)
    said = redis.run("chaos-test", "--seed", "1", code=1, timeout=900).stdout
    assert "known weakness" in said
    for folder in (etcd, redis):
        runs = sorted(path.parent for path in folder.path.glob(".clusterkit/*/runs/2*/run.json"))
        told = [one for run in runs for one in json.loads((run / "run.json").read_text())["schedule"]]
        assert {faults()[one["fault"].split()[0]].family for one in told} == {
            fault.family for fault in faults().values()
        }
        assert sum(json.loads((run / "result.json").read_text())["counts"]["ok"] for run in runs) > 1000
