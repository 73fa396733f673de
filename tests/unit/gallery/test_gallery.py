"""The topologies to begin with: whole, commented, and what the list says of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from clusterkit.check_topology import read_topology
from clusterkit.gallery import DEFAULT, GALLERY


def laid_out(name: str, folder: Path) -> Path:
    for file, content in GALLERY[name].files().items():
        (folder / file).write_bytes(content)
    return folder / "clusterkit.yml"


@pytest.mark.parametrize("name", GALLERY)
def test_each_is_valid_and_has_as_many_nodes_as_the_list_says(name: str, tmp_path: Path) -> None:
    topology, _ = read_topology(laid_out(name, tmp_path), folder=tmp_path, environ={})
    assert sum(spec.replicas for spec in topology.components.values()) == GALLERY[name].nodes


@pytest.mark.parametrize("name", GALLERY)
def test_each_tells_editors_its_schema_and_readers_what_to_type(name: str) -> None:
    first, second, *lines = GALLERY[name].files()["clusterkit.yml"].decode().splitlines()
    assert first == "# yaml-language-server: $schema=clusterkit.schema.json"
    assert second == "#"
    assert any(line.startswith("#   clusterkit ") for line in lines)
    comments = sum("#" in line for line in lines)
    assert comments * 4 >= len(lines)


@pytest.mark.parametrize("name", GALLERY)
def test_none_names_a_cluster_so_that_two_folders_never_claim_one_name(name: str) -> None:
    assert "\nname:" not in GALLERY[name].files()["clusterkit.yml"].decode()


def test_the_topology_comes_first_and_programs_are_whole() -> None:
    programs = 0
    for entry in GALLERY.values():
        names = list(entry.files())
        assert names[0] == "clusterkit.yml"
        for name in names[1:]:
            ast.parse(entry.files()[name])
            programs += 1
    assert programs == 2


def test_the_one_to_begin_with_is_the_first() -> None:
    assert next(iter(GALLERY)) == DEFAULT
