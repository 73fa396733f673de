"""Disks without disks: files that are damaged and put back, limits as text, what is frozen, thawed and filled when."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clusterkit.agent.program import loop, nodes, on_disk
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Refused
from clusterkit.agent.program.kinds import disk

NODE = {"name": "db-1", "address": "10.9.8.11", "id": "c1"}


def _entry(number: int, kind: str = "disk-full", **args: Any) -> Entry:
    given = {"nodes": [NODE], "beside": [], **args}
    return Entry(f"{kind}-{number}", "shop", kind, kind, kind, ["db-1"], number, None, "boot", args=given)


class Box:
    def __init__(self, *given: Entry) -> None:
        self.given = list(given)

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        return [entry for entry in self.given if entry.kind == kind and cluster in ("", entry.cluster)]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was asked of disks, in order; all of it succeeds. db-1 runs."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(_device: str, do: str, _seconds: float, **args: Any) -> dict[str, Any]:
        asked.append((do, args))
        return {"error": ""}

    monkeypatch.setattr(on_disk, "ask", ask)
    monkeypatch.setattr(disk, "_device", lambda _cluster, _node: "/host/dev/loop9")
    monkeypatch.setattr(nodes, "init", lambda _identity: 70)
    monkeypatch.setattr(nodes, "processes", lambda _identity: [])
    return asked


def test_one_that_is_fuller_leaves_room_for_the_other_when_it_ends(done: list[tuple[str, dict[str, Any]]]) -> None:
    first, second = _entry(1, leave=4096), _entry(2, leave=0)
    disk.Full(Box(first, second)).undo(second)
    assert done == [("empty", {}), ("fill", {"leave": 4096})]


def test_nothing_is_done_on_a_disk_that_stands_still(done: list[tuple[str, dict[str, Any]]]) -> None:
    stalled = _entry(1, "disk-stall")
    with pytest.raises(Refused, match="the disk of db-1 stands still") as refused:
        disk.Full(Box(stalled)).look(_entry(2, leave=0))
    assert refused.value.mend == "clusterkit chaos heal disk-stall-1"
    assert done == []


def test_a_disk_is_frozen_once_and_again_for_a_node_that_was_restarted(
    done: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = _entry(1, "disk-stall")
    kind = disk.Stall(Box(entry))
    kind.make(entry)
    kind.keep(entry)
    assert [do for do, _ in done] == ["freeze"]
    monkeypatch.setattr(nodes, "init", lambda _identity: None)
    kind.keep(entry)
    assert [do for do, _ in done] == ["freeze"]
    monkeypatch.setattr(nodes, "init", lambda _identity: 71)
    kind.keep(entry)
    assert [do for do, _ in done] == ["freeze", "freeze"]


def test_two_stalls_of_one_disk_end_with_the_last(done: list[tuple[str, dict[str, Any]]]) -> None:
    first, second = _entry(1, "disk-stall"), _entry(2, "disk-stall")
    box = Box(first, second)
    kind = disk.Stall(box)
    kind.undo(second)
    assert done == []
    box.given = []
    kind.undo(first)
    assert done == [("thaw", {})]


def test_limits_are_written_as_the_kernel_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "is_unified", lambda: True)
    assert disk._lines(9, 1 << 20, 0) == [("io.max", "7:9 rbps=1048576 wbps=1048576 riops=max wiops=max")]
    monkeypatch.setattr(nodes, "is_unified", lambda: False)
    assert disk._lines(9, 0, 20) == [
        ("blkio.throttle.read_bps_device", "7:9 0"),
        ("blkio.throttle.read_iops_device", "7:9 20"),
        ("blkio.throttle.write_bps_device", "7:9 0"),
        ("blkio.throttle.write_iops_device", "7:9 20"),
    ]


def test_no_order_can_be_given_as_a_measurement() -> None:
    with pytest.raises(Refused, match="thaw is no measurement"):
        disk.disk_probe({"cluster": "shop", "nodes": [NODE], "beside": [], "do": "thaw", "args": {}, "seconds": 1})


def test_a_trial_leaves_no_disk(done: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[Path] = []
    monkeypatch.setattr(loop, "make", lambda *_disk: "/dev/loop9")
    monkeypatch.setattr(loop, "remove", removed.append)
    disk._tried.cache_clear()
    assert disk.Stall(Box()).trial() == disk.Full(Box()).trial() == ""
    assert [do for do, _ in done] == ["fill", "empty", "freeze", "thaw", "sync"]
    assert removed == [loop.image_of(".trial", "disk")]
    monkeypatch.setattr(on_disk, "ask", lambda *_asked, **_args: {"error": "EPERM"})
    disk._tried.cache_clear()
    with pytest.raises(Refused, match="could not be made to fill: EPERM"):
        disk.Full(Box()).trial()
    assert len(removed) == 2


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "1.wal").write_bytes(b"abcdefgh" * 1000)
    (tmp_path / "snap").write_bytes(b"s" * 100)
    (tmp_path / ".clusterkit-fill").write_bytes(b"f" * 100_000)
    (tmp_path / "outside").symlink_to("/etc/hostname")
    return tmp_path


def _chosen(data: Path, pattern: str = "", bytes_wanted: int = 10) -> Mapping[str, Any]:
    return on_disk.choose(data, pattern, bytes_wanted, 0.5, 0)


def test_the_fullest_of_the_recent_files_is_meant(data: Path) -> None:
    found = _chosen(data)
    assert (found["file"], found["size"], found["at"], found["offset"]) == ("wal/1.wal", 8000, 7990, 4000)
    assert (found["byte"], found["bit"]) == (ord("a"), ord("a") ^ 1)
    os.utime(data / "wal" / "1.wal", (1, 1))
    assert _chosen(data)["file"] == "snap"
    assert _chosen(data, "*.wal")["file"] == "wal/1.wal"
    with pytest.raises(FileNotFoundError):
        _chosen(data, "*.aof")


def test_room_that_is_kept_for_later_does_not_count(data: Path) -> None:
    with (data / "wal" / "later.wal").open("wb") as file:
        file.truncate(1 << 20)
    assert _chosen(data, "*.wal")["file"] == "wal/1.wal"


def test_what_was_cut_off_is_put_back(data: Path) -> None:
    found, before = _chosen(data), (data / "wal" / "1.wal").read_bytes()
    on_disk.cut(data, found["file"], found["at"], "key")
    assert (data / "wal" / "1.wal").read_bytes() == before[:-10]
    assert on_disk.part(data, found["file"], found["at"], found["size"])["sum"] != found["sum"]
    assert on_disk.paste(data, "key", is_trial=True) == {"is_back": True}
    assert on_disk.paste(data, "key", is_trial=False) == {"is_back": True}
    assert (data / "wal" / "1.wal").read_bytes() == before
    assert on_disk.paste(data, "key", is_trial=False) == {"is_back": True}
    assert sorted(path.name for path in data.iterdir()) == [".clusterkit-fill", "outside", "snap", "wal"]


def test_what_was_written_since_is_left_alone(data: Path) -> None:
    found = _chosen(data)
    on_disk.cut(data, found["file"], found["at"], "key")
    with (data / "wal" / "1.wal").open("ab") as file:
        file.write(b"new")
    assert on_disk.paste(data, "key", is_trial=False) == {"is_back": False}
    assert (data / "wal" / "1.wal").read_bytes().endswith(b"new")
    assert not list(data.glob(".clusterkit-cut-*"))


def test_a_file_that_was_deleted_since_stays_so(data: Path) -> None:
    found = _chosen(data)
    on_disk.cut(data, found["file"], found["at"], "key")
    (data / "wal" / "1.wal").unlink()
    assert on_disk.paste(data, "key", is_trial=False) == {"is_back": False}
    assert not (data / "wal" / "1.wal").exists()


def test_a_bit_is_flipped_and_flipped_back(data: Path) -> None:
    found, before = _chosen(data), (data / "wal" / "1.wal").read_bytes()
    place = data, found["file"], found["offset"]
    on_disk.poke(*place, found["byte"], found["bit"], is_trial=False)
    now = (data / "wal" / "1.wal").read_bytes()
    assert [index for index in range(8000) if now[index] != before[index]] == [4000]
    assert on_disk.poke(*place, found["bit"], found["byte"], is_trial=True) == {"is_back": True}
    on_disk.poke(*place, found["bit"], found["byte"], is_trial=False)
    assert (data / "wal" / "1.wal").read_bytes() == before
    assert on_disk.poke(*place, ord("x"), ord("y"), is_trial=False) == {"is_back": False}
    assert (data / "wal" / "1.wal").read_bytes() == before


def test_links_are_never_followed(data: Path) -> None:
    with pytest.raises(OSError, match="symbolic links"):
        on_disk.part(data, "outside", 0, 1)
