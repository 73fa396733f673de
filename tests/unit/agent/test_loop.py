"""Disks as files: what is made, listed and removed, without a loop device."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.agent.program import loop
from clusterkit.agent.program.kind import Refused

SIZE = loop.SMALLEST


@pytest.fixture(autouse=True)
def attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """image -> the number of its device. Nothing is formatted."""
    devices: dict[Path, int] = {}
    monkeypatch.setattr(loop, "DISKS", tmp_path)
    monkeypatch.setattr(loop, "_run", lambda *_argv: None)
    monkeypatch.setattr(loop, "find", devices.get)
    monkeypatch.setattr(loop, "_attach", lambda image: devices.setdefault(image, len(devices)))
    monkeypatch.setattr(
        loop, "_clear", lambda number: [devices.pop(image) for image in list(devices) if devices[image] == number]
    )
    return devices


def test_a_disk_is_made_once_and_takes_no_room() -> None:
    asked = {"cluster": "shop", "nodes": {"db-1": SIZE, "db-2": SIZE}}
    assert loop.disks_make(asked) == {"db-1": "/dev/loop0", "db-2": "/dev/loop1"}
    assert loop.disks_make(asked) == {"db-1": "/dev/loop0", "db-2": "/dev/loop1"}
    made = loop.image_of("shop", "db-1").stat()
    assert (made.st_size, made.st_blocks) == (SIZE, 0)


def test_a_disk_of_another_size_is_refused() -> None:
    loop.make("shop", "db-1", SIZE)
    with pytest.raises(Refused, match="the disk of db-1 has 16MB, and not 32MB"):
        loop.make("shop", "db-1", 2 * SIZE)


def test_a_disk_needs_some_room_and_there_has_to_be_as_much() -> None:
    with pytest.raises(Refused, match="too small"):
        loop.make("shop", "db-1", SIZE - 1)
    with pytest.raises(Refused, match="MB are free"):
        loop.make("shop", "db-1", 1 << 60)
    assert not loop.image_of("shop", "db-1").exists()


def test_disks_of_a_node_or_of_a_cluster_are_removed(attached: dict[Path, int]) -> None:
    for cluster, node in (("shop", "db-1"), ("shop", "db-2"), ("other", "db-1")):
        loop.make(cluster, node, SIZE)
    assert loop.disks_remove({"cluster": "shop", "nodes": ["db-2"]}) == 1
    assert [(disk["cluster"], disk["node"], disk["device"]) for disk in loop.disks({})] == [
        ("other", "db-1", "/dev/loop2"),
        ("shop", "db-1", "/dev/loop0"),
    ]
    assert loop.disks_remove({"cluster": "shop", "nodes": None}) == 1
    assert loop.disks_remove({"cluster": "shop", "nodes": None}) == 0
    assert list(attached) == [loop.image_of("other", "db-1")]
    assert not loop.image_of("shop", "db-1").parent.exists()


def test_disks_are_attached_again(attached: dict[Path, int]) -> None:
    loop.make("shop", "db-1", SIZE)
    attached.clear()
    assert loop.disks({}) == [{"cluster": "shop", "node": "db-1", "device": ""}]
    loop.attach_all()
    assert loop.disks({}) == [{"cluster": "shop", "node": "db-1", "device": "/dev/loop0"}]
