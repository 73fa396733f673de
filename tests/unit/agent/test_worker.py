"""Works inside a node's limits: they join, do as they are told, and end with the node or with the agent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterkit.agent.program.kinds import resource

SECONDS = 10


@pytest.fixture
def node() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its stdin is closed."""
    made = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield made
    _end(made)


def test_work_tells_how_much_it_got(tmp_path: Path) -> None:
    procs = tmp_path / "procs"
    asked = resource.begin("work", stdout=subprocess.PIPE, procs=str(procs), node=os.getpid(), seconds=0.05)
    share = resource._answer(asked)
    assert share is not None
    assert 0 < share < 1.5
    assert procs.read_text() == "0"


def test_hold_tells_what_stays_and_leaves_nothing(tmp_path: Path) -> None:
    size = 3 * (1 << 20)
    procs, home, path = (tmp_path / name for name in ("procs", "home", "hole"))
    asked = resource.begin(
        "hold",
        stdout=subprocess.PIPE,
        procs=str(procs),
        node=os.getpid(),
        home=str(home),
        path=str(path),
        size=size,
    )
    held = resource._answer(asked)
    assert held is not None
    assert 0 <= held <= size
    assert (procs.read_text(), home.read_text()) == ("0", "0")
    assert not path.exists()


@pytest.mark.parametrize(("work", "more"), [("burn", {}), ("fill", {"size": 1 << 20})])
def test_it_ends_with_its_node(tmp_path: Path, node: subprocess.Popen[bytes], work: str, more: dict[str, int]) -> None:
    begun = resource.begin(work, stdout=subprocess.DEVNULL, procs=str(tmp_path / "procs"), node=node.pid, **more)
    _end(node)
    assert begun.wait(SECONDS) == 0
    _end(begun)


@pytest.mark.parametrize(("work", "more"), [("burn", {}), ("fill", {"size": 1 << 20})])
def test_it_ends_with_the_agent(tmp_path: Path, node: subprocess.Popen[bytes], work: str, more: dict[str, int]) -> None:
    begun = resource.begin(work, stdout=subprocess.DEVNULL, procs=str(tmp_path / "procs"), node=node.pid, **more)
    _end(begun)
    assert begun.returncode == 0


def test_a_node_that_has_ended_has_no_answer(tmp_path: Path, node: subprocess.Popen[bytes]) -> None:
    _end(node)
    asked = resource.begin("work", stdout=subprocess.PIPE, procs=str(tmp_path / "procs"), node=node.pid, seconds=9)
    assert resource._answer(asked) is None


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(SECONDS)
