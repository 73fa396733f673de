"""Topologies as pictures in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.check_topology import read_topology
from clusterkit.render.graph import FORMATS

TEXT = """
name: shop
components:
  registry: {kind: etcd}
  cache: {kind: redis, replicas: 1, zones: [b]}
  end: {kind: redis-sentinel, watches: cache, replicas: 1, depends_on: [registry]}
links:
  - {between: [zone a, zone b], latency: 40ms}
"""
MERMAID = """\
flowchart LR
  subgraph n_registry["registry (etcd)"]
    n_registry_1["registry-1, zone a, leader"]
    n_registry_2["registry-2, zone b"]
    n_registry_3["registry-3, zone c"]
  end
  subgraph n_cache["cache (redis)"]
    n_cache_1["cache-1, zone b"]
  end
  subgraph n_end["end (redis-sentinel)"]
    n_end_1["end-1, zone a"]
  end
  n_end --> n_registry
  n_end --> n_cache
  link1(["link between zone a and zone b: latency 40ms"])
"""
DOT = """\
digraph cluster {
  rankdir=LR; compound=true; node [shape=box];
  subgraph "cluster_registry" {
    label="registry (etcd)";
    "registry-1" [label="registry-1, zone a, leader"];
    "registry-2" [label="registry-2, zone b"];
    "registry-3" [label="registry-3, zone c"];
  }
  subgraph "cluster_cache" {
    label="cache (redis)";
    "cache-1" [label="cache-1, zone b"];
  }
  subgraph "cluster_end" {
    label="end (redis-sentinel)";
    "end-1" [label="end-1, zone a"];
  }
  "end-1" -> "registry-1" [ltail="cluster_end", lhead="cluster_registry"];
  "end-1" -> "cache-1" [ltail="cluster_end", lhead="cluster_cache"];
  label="link between zone a and zone b: latency 40ms\\l"; labeljust=l;
}
"""


@pytest.mark.parametrize(("form", "text"), [("mermaid", MERMAID), ("dot", DOT)])
def test_components_nodes_needs_and_links(form: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "clusterkit.yml").write_text(TEXT)
    topology, _ = read_topology(None, folder=tmp_path, environ={})
    order = {"registry": (), "cache": (), "end": ("registry", "cache")}
    assert FORMATS[form](topology, order, {"registry-1": "leader"}) == text
