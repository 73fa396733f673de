"""Topologies to begin with, brought up as they are written; and Compose files, imported and brought up."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

from clusterkit.gallery import GALLERY
from clusterkit.provision.recipe import base_tag
from tests.integration.conftest import Folder

COMPOSE = Path(__file__).parents[1] / "fixtures" / "compose" / "local"

pytestmark = pytest.mark.xdist_group("agent")


def up(folder: Folder, name: str) -> dict[str, str]:
    """The gallery's topology, written and brought up: node -> its health."""
    folder.run("init", name)
    folder.run("up")
    return {node: str(seen["health"]) for node, seen in folder.nodes().items()}


@pytest.mark.parametrize("name", ["etcd", "leader", "gossip"])
def test_what_init_writes_comes_up(name: str, folder: Folder) -> None:
    healths = up(folder, name)
    assert len(healths) == GALLERY[name].nodes
    assert set(healths.values()) == {"healthy"}
    assert len(folder.roles("leader")) == (0 if name == "gossip" else 2 if name == "leader" else 1)


@pytest.mark.long
@pytest.mark.parametrize("name", ["quickstart", "redis-sentinel", "wan"])
def test_the_larger_ones_come_up_too(name: str, folder: Folder) -> None:
    healths = up(folder, name)
    assert len(healths) == GALLERY[name].nodes
    assert set(healths.values()) == {"healthy"}


@pytest.mark.long
@pytest.mark.parametrize(("name", "scenario"), [("leader", "leader-loss"), ("gossip", "cut-off"), ("ci", "smoke")])
def test_scenarios_to_begin_with_hold(name: str, scenario: str, folder: Folder) -> None:
    folder.run("init", name)
    said = folder.run("chaos-test", scenario, "--seed", "1").stdout
    assert "VALID" in said


def test_an_imported_compose_file_comes_up_and_its_parts_find_each_other(folder: Folder) -> None:
    shutil.copytree(COMPOSE, folder.path, dirs_exist_ok=True)
    (folder.path / ".env").write_text(f"BASE={base_tag()}\nREDIS_PASSWORD=swordfish\n")
    said = folder.run("init", "--from", "compose.yaml")
    assert "compose.yaml: 2 services became 2 components with 6 nodes" in said.stdout
    assert "compose.yaml:11: restart: " in said.stderr
    folder.run("validate")
    folder.run("up")
    nodes = folder.nodes()
    assert {seen["health"] for seen in nodes.values()} == {"healthy"}
    for index in (1, 2, 3):
        address = folder.run("port", f"web-app-{index}", "http").stdout.strip()
        with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
            assert json.load(answer) == {"redis": "+PONG", "greeting": "hello from compose"}
