"""`clusterkit chaos` as a person types it, on nine nodes; and what `status`, `logs` and `doctor` say of faults."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterkit.chaos.registry import shipped_faults
from tests.integration.chaos import host_state
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

SCENARIO = """
time: 4s
faults:
  - {at: 500ms, for: 2s, isolate: one of cache}
  - {at: 1s, for: 1s, cut: {target: registry-1, towards: registry-2}}
"""


@pytest.fixture(scope="module", autouse=True)
def _whole_at_the_end(arena: Folder) -> Iterator[None]:
    yield
    arena.run("chaos", "heal")
    arena.run("up")


def id_of(said: str, words: str) -> str:
    """The id of the fault that a verb tells in its first line: numbers are the engine's, and others use some too."""
    name, _, rest = said.splitlines()[0].partition(": ")
    assert rest == words
    assert re.fullmatch(r"[a-z-]+-\d+", name)
    return name


def broken(folder: Folder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(folder.run("chaos", "status", "--format", "json").stdout)["faults"]
    return found


def test_a_leader_is_isolated_seen_from_both_sides_and_healed(arena: Folder) -> None:
    (leader,) = arena.roles("leader")
    said = arena.run("chaos", "isolate", "leader", "of", "registry", "--for", "1m").stdout
    fault = id_of(said, f"isolate {leader}")
    assert re.search(rf"asked 16 ways cut, seen 16 of 16 cut\n  beside it .* whole\n  until .*chaos heal {fault}", said)
    other = another(arena, leader)
    status = arena.run("status", code=1).stdout
    assert re.search(rf"^{other} .* leader +healthy", status, re.MULTILINE)
    assert re.search(rf"^{leader} .* unhealthy", status, re.MULTILINE)
    assert re.search(rf"^{fault} +isolate {leader} ", status, re.MULTILINE)
    told = json.loads(arena.run("status", "--format", "json", code=1).stdout)["faults"]
    assert [(one["id"], one["words"], one["overdue"]) for one in told] == [(fault, f"isolate {leader}", False)]
    assert [one["id"] for one in broken(arena)] == [fault]
    assert arena.run("chaos", "heal", fault).stdout == f"healed {fault}: isolate {leader}\n"
    assert arena.run("chaos", "status").stdout == f"{arena.name}: nothing is broken\n"
    arena.run("up")
    lines = arena.run("logs", leader, "--since", "1m", "--grep", f"^{fault}").stdout
    assert f"{fault}: isolate {leader}" in lines
    assert "seen 16 of 16 cut" in lines
    assert f"{fault} healed" in lines


def another(folder: Folder, old: str) -> str:
    """The leader that takes over."""
    end = time.monotonic() + 20
    while True:
        found = [name for name in folder.roles("leader") if name != old]
        if found:
            return found[0]
        assert time.monotonic() < end, f"nobody leads but {old}"


def test_heal_needs_only_the_name(arena: Folder, tmp_path: Path) -> None:
    """From another folder, without the file; and when all is healed it is content."""
    elsewhere = Folder(tmp_path, arena.name)
    said = arena.run("chaos", "cut", "cache-1", "--towards", "cache-2", "--for", "ever").stdout
    fault = id_of(said, "cut cache-1 from cache-2")
    assert said.endswith(f"  until: clusterkit chaos heal {fault}\n")
    assert re.search(
        rf"^{fault} .* healed", elsewhere.run("chaos", "status", "--name", arena.name).stdout, re.MULTILINE
    )
    assert elsewhere.run("chaos", "heal", "--name", arena.name).stdout.startswith(f"healed {fault}: ")
    assert elsewhere.run("chaos", "heal", "--name", arena.name).stdout == f"{arena.name}: nothing was broken\n"
    assert "no fault" in elsewhere.run("chaos", "heal", fault, "--name", arena.name, code=64).stderr


def test_a_killed_node_stays_down_until_it_is_healed(arena: Folder) -> None:
    said = arena.run("chaos", "kill", "cache-2").stdout
    assert said.endswith(f"  until: clusterkit chaos heal {id_of(said, 'kill cache-2')}\n")
    assert [(one["left_s"], one["overdue"]) for one in broken(arena)] == [(None, False)]
    assert arena.nodes()["cache-2"]["state"] == "exited"
    arena.run("chaos", "heal")
    assert arena.nodes()["cache-2"]["state"] == "running"


def test_a_killed_node_is_started_when_its_time_is_over(arena: Folder) -> None:
    said = arena.run("chaos", "kill", "cache-3", "--for", "1s").stdout
    assert said.endswith(f"healed {id_of(said, 'kill cache-3')}: kill cache-3\n")
    assert arena.nodes()["cache-3"]["state"] == "running"
    assert broken(arena) == []


def test_ctrl_c_heals_at_once(arena: Folder) -> None:
    argv = [sys.executable, "-m", "clusterkit", "chaos", "crash-loop", "cache-2", "--for", "5m"]
    with subprocess.Popen(argv, cwd=arena.path, stdout=subprocess.PIPE, text=True) as loop:
        assert loop.stdout is not None
        lines = iter(loop.stdout.readline, "")
        fault = id_of(next(lines), "crash-loop cache-2")
        assert any("Ctrl-C heals it at once" in line for line in lines)
        loop.send_signal(signal.SIGINT)
        assert list(lines) == [f"healed {fault}: crash-loop cache-2\n"]
    assert loop.returncode == 130
    assert broken(arena) == []
    assert arena.nodes()["cache-2"]["state"] == "running"


def test_what_is_over_at_once_leaves_nothing(arena: Folder) -> None:
    assert "asked 1 started anew, seen 1 of 1 started anew" in arena.run("chaos", "restart", "cache-3").stdout
    assert broken(arena) == []


def test_a_scenario_is_run_and_repeated(arena: Folder) -> None:
    (arena.path / "storm.yml").write_text(SCENARIO)
    words = ("chaos", "run", "storm.yml", "--seed", "5")
    plan = arena.run(*words, "--dry-run").stdout.splitlines()
    assert len(plan) == 3
    lines = arena.run(*words).stdout.splitlines()
    assert lines[0] == plan[0] == "storm: 2 faults in 4s, --seed 5"
    assert lines[-1] == "2 faults made, 2 of them bit"
    happened = [re.split(r" {2,}", line.strip())[1] for line in lines[1:-1]]
    assert sorted(happened) == ["effect", "effect", "heal", "heal", "healed", "healed", "inject", "inject"]
    assert any(re.search(r"inject +isolate-\d+: isolate cache-\d$", line) for line in lines)
    assert broken(arena) == []


def test_the_list_says_what_can_be_made_here(arena: Folder) -> None:
    rows = json.loads(arena.run("chaos", "list", "--format", "json").stdout)
    assert {row["name"] for row in rows} == set(shipped_faults())
    assert [
        row["name"] for row in rows if "block" in shipped_faults()[row["name"]].needs and not row["available"]
    ] == []
    assert all(bool(row["reason"]) is (row["available"] is False) for row in rows)
    assert "partition:\n" in arena.run("chaos", "list").stdout


def test_doctor_says_how_faults_are_made(arena: Folder) -> None:
    rows = {row["name"]: row for row in json.loads(arena.run("doctor", "--format", "json", code=None).stdout)}
    assert "links by " in rows["faults"]["text"]


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (["isolate", "majority of cache-1"], "it takes three nodes or more"),
        (["isolate", "boss", "of", "registry"], "or name the nodes"),
        (["isolate", "leader of registri"], 'did you mean "registry"?'),
        (["isolate", "cache-1", "--ports", "6379"], 'write "6379/tcp" or "6379/udp"'),
        (["clock-drift", "120%", "--target", "cache-1"], 'write at most "100%"'),
        (["isolate", "cache-1", "--towards", "cache-1"], "name others with `towards:`"),
        (["zone-outage", "x"], "known zones: a, b, c"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nonsense_touches_nothing(arena: Folder, words: list[str], mend: str) -> None:
    before = host_state()
    done = arena.run("chaos", *words, code=64)
    assert done.stdout == ""
    assert "\n  mend: " in done.stderr
    assert mend in done.stderr
    assert host_state() == before
    assert broken(arena) == []
