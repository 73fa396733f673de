"""The Python API: what is promised by name, and what is refused before anything is asked of an engine."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import clusterkit
from clusterkit.api import Cluster, ClusterNode
from clusterkit.chaos.base import Target
from clusterkit.errors import TopologyError, UsageError
from clusterkit.units import Duration


def _public(of: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(of) if not name.startswith("_")}


def test_what_is_promised_by_name() -> None:
    assert clusterkit.__all__ == ["Cluster", "ClusterNode", "ClusterkitError", "__version__"]
    assert clusterkit.Cluster is Cluster
    assert clusterkit.ClusterNode is ClusterNode
    assert clusterkit.ClusterkitError is sys.modules["clusterkit.errors"].ClusterkitError
    with pytest.raises(AttributeError, match="no attribute 'Clusters'"):
        _ = clusterkit.Clusters
    assert _public(Cluster) == {
        "down", "endpoints", "fault", "heal", "health", "logs", "name", "node", "nodes", "roles", "secrets", "up",
        "wait_healthy",
    }  # fmt: skip
    assert _public(ClusterNode) == {
        "address", "component", "exec", "kill", "name", "pause", "port", "put", "read", "start", "state", "stop",
        "unpause", "zone",
    }  # fmt: skip


@pytest.fixture
def made() -> Any:
    """How a fault is made of its name and its fields."""
    return Cluster(None, None, None, is_adopted=False, keep=False)._made  # type: ignore[arg-type]


def test_fields_are_those_of_the_command_line(made: Any) -> None:
    fault = made("latency", {"delay": "50ms", "target": "registry"})
    assert (fault.delay, fault.target) == (Duration.parse("50ms"), Target(("registry",)))


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("latenzy", {}, 'no fault is called "latenzy"'),
        ("latency", {"delai": "50ms"}, 'latency has no "delai"'),
        ("latency", {"delay": 50}, "latency: delay: a duration needs a unit"),
        ("latency", {"target": "registry"}, "latency needs delay"),
    ],
)
def test_what_is_written_wrong_is_said(made: Any, name: str, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        made(name, fields)
    assert raised.value.what.startswith(said)


def test_a_topology_that_is_wrong_is_said_before_an_engine_is_asked(tmp_path: Path) -> None:
    (tmp_path / "clusterkit.yml").write_text("components: {db: {kind: etcdd}}\n")
    with pytest.raises(TopologyError, match="unknown kind"):
        Cluster.up(tmp_path / "clusterkit.yml")


def test_the_plugin_brings_nothing_of_clusterkit_along() -> None:
    """pytest loads it in every run of an environment that has clusterkit."""
    program = (
        "import sys, clusterkit.pytest_plugin; print(sorted(n for n in sys.modules if n.startswith('clusterkit')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['clusterkit', 'clusterkit.pytest_plugin', 'clusterkit.release']"
