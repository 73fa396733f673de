"""The `health` verb: a verdict from readiness, findings and checks; as text, JSON and JUnit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clusterkit.components.base import Finding, Running
from clusterkit.health import checks, report
from clusterkit.health.checks import CheckResult
from clusterkit.health.report import Health
from clusterkit.node import State
from tests.unit.health.fake_provider import FakeProvider, planned, record, store


def _health(running: Running) -> Iterator[Finding]:
    yield Finding("quorum: 3 of 3", is_ok=True)
    yield Finding("lag \x07 1 & 2", is_ok=running.group.name != "db", node="db-2")


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> Health:
    results = (
        CheckResult("db-1", "test_disk", "passed", "", 0.25),
        CheckResult("db-2", "test_disk", "failed", "AssertionError: full\nassert 99 < 95", 0.5),
        CheckResult("db-3", "test_mine", "skipped", "not for it"),
        CheckResult("", "test_broken.py", "failed", "SyntaxError"),
    )
    monkeypatch.setattr(checks, "run_checks", lambda *_args, **_more: results)
    plan = planned(store(ready=lambda _running: {"db-1": "PING: LOADING"}, health=_health))
    return report.examine(plan, FakeProvider(), record(plan))


def test_all_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "run_checks", lambda *_args, **_more: ())
    plan = planned(store())
    health = report.examine(plan, FakeProvider(), record(plan))
    assert health.is_healthy
    assert report.as_text(health).splitlines() == [
        "db (store): healthy",
        "  ok  ready: 3 of 3 nodes",
        "eye (watcher): healthy",
        "  ok  ready: 1 of 1 nodes",
        "shop: healthy",
    ]


def test_each_kind_of_trouble_alone_is_unhealthy(sick: Health) -> None:
    db, eye = sick.components
    assert not sick.is_healthy
    assert eye.is_healthy
    well = replace(db, unready={}, findings=(), checks=())
    assert well.is_healthy
    assert not replace(well, unready={"db-1": "no"}).is_healthy
    assert not replace(well, findings=db.findings).is_healthy
    assert not replace(well, checks=db.checks).is_healthy
    assert Health("shop", (well, eye)).is_healthy
    assert not Health("shop", (well, eye), sick.stray).is_healthy


def test_text_marks_what_is_wrong(sick: Health) -> None:
    wrong = [line for line in report.as_text(sick).splitlines() if "!!" in line]
    assert wrong == [
        "  !!  ready: 2 of 3 nodes",
        "  !!  db-1: PING: LOADING",
        "  !!  db-2: lag \x07 1 & 2",
        "  !!  checks: 1 of 3 passed, 1 skipped",
        "  !!  db-2: test_disk",
        "  !!  checks: 0 of 1 passed",
        "  !!  test_broken.py",
    ]


def test_data_is_json(sick: Health) -> None:
    data = json.loads(json.dumps(report.as_data(sick)))
    assert (data["name"], data["healthy"]) == ("shop", False)
    assert data["components"][0]["nodes"][0] == {"name": "db-1", "ready": False, "seen": "PING: LOADING"}
    assert data["components"][0]["checks"][1]["outcome"] == "failed"


def test_junit_is_xml_that_tools_read(sick: Health) -> None:
    root = ElementTree.fromstring(report.junit(sick))  # noqa: S314  we wrote it
    suites = {suite.get("name"): {key: suite.get(key) for key in ("tests", "failures", "skipped")} for suite in root}
    assert suites == {
        "db": {"tests": "8", "failures": "3", "skipped": "1"},
        "eye": {"tests": "1", "failures": "0", "skipped": "0"},
        "checks": {"tests": "1", "failures": "1", "skipped": "0"},
    }
    failed = {
        case.get("name"): case.find("failure") for case in root.iter("testcase") if case.find("failure") is not None
    }
    assert set(failed) == {"db-1", "db-2: lag ? 1 & 2", "test_disk on db-2", "test_broken.py"}
    assert failed["test_disk on db-2"] is not None
    assert failed["test_disk on db-2"].get("message") == "AssertionError: full"


def test_a_view_that_cannot_be_read_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_running: Running) -> Iterator[Finding]:
        raise TimeoutError
        yield

    monkeypatch.setattr(checks, "run_checks", lambda *_args, **_more: ())
    plan = planned(store(health=broken))
    db = report.examine(plan, FakeProvider(), record(plan)).components[0]
    assert [finding.what for finding in db.findings] == ["its own view cannot be read: timed out"]


def test_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "run_checks", lambda *_args, **_more: ())
    plan = planned(store(health=_health))
    stopped = record(plan, db_1=State.EXITED, db_2=State.EXITED, db_3=State.EXITED)
    db = report.examine(plan, FakeProvider(), stopped).components[0]
    assert (len(db.unready), db.findings) == (3, ())


HERE = """
import pytest

def test_name(node):
    assert node.name != "db-2", "this one is odd"

@pytest.mark.parametrize("port", ["client", "peer"])
def test_port(node, port):
    assert port in node.ports

def test_other(host, node):
    if node.component != "eye":
        pytest.skip("not for it")
"""


def test_checks_run_in_a_process_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the nodes' facts, and without this process's pytest settings. No command is run on a node."""
    (tmp_path / "test_mine.py").write_text(HERE)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    plan = planned(store())
    found = checks.run_checks(plan, FakeProvider(), record(plan, db_3=State.EXITED), tmp_path)
    outcomes = {(result.node, result.name): result.outcome for result in found}
    assert outcomes == {
        ("db-1", "test_name"): "passed",
        ("db-2", "test_name"): "failed",
        ("eye-1", "test_name"): "passed",
        ("db-1", "test_port[client]"): "passed",
        ("db-2", "test_port[client]"): "passed",
        ("eye-1", "test_port[client]"): "failed",
        ("db-1", "test_port[peer]"): "failed",
        ("db-2", "test_port[peer]"): "failed",
        ("eye-1", "test_port[peer]"): "failed",
        ("db-1", "test_other"): "skipped",
        ("db-2", "test_other"): "skipped",
        ("eye-1", "test_other"): "passed",
    }
    assert "this one is odd" in next(result.words for result in found if result.node == "db-2")


def test_a_file_that_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("def test_x(:\n")
    plan = planned(store())
    found = checks.run_checks(plan, FakeProvider(), record(plan), tmp_path)
    assert [(result.node, result.outcome) for result in found] == [("", "failed")]
    assert "SyntaxError" in found[0].words


def test_a_folder_without_checks_is_no_trouble(tmp_path: Path) -> None:
    plan = planned(store())
    assert checks.run_checks(plan, FakeProvider(), record(plan), tmp_path) == ()


def test_shipped_checks_are_for_what_our_roles_installed(tmp_path: Path) -> None:
    shipped = tmp_path / "store_checks.py"
    shipped.write_text("def test_it(node):\n    assert node.kind == 'store'\n")
    ours, theirs = planned(store(checks=str(shipped))), planned(store(checks=str(shipped)), image="store:1")
    assert {result.node for result in checks.run_checks(ours, FakeProvider(), record(ours), None)} == {
        "db-1",
        "db-2",
        "db-3",
    }
    assert checks.run_checks(theirs, FakeProvider(), record(theirs), None) == ()
    assert checks.run_checks(ours, FakeProvider(), record(ours), None, shipped=False) == ()


def test_checks_that_hang_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_slow.py").write_text(
        "import subprocess\n\ndef test_it(node):\n    subprocess.run(['sleep', '600'])\n"
    )
    monkeypatch.setattr(checks, "TIMEOUT", 0.5)
    plan = planned(store())
    found = checks.run_checks(plan, FakeProvider(), record(plan), tmp_path)
    assert [result.outcome for result in found] == ["failed"]
    assert "took more than 0.5 s" in found[0].words
