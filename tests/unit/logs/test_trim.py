"""Archived logs are removed, oldest first, until they take no more than asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clusterkit.logs.archive import trim


def archived(folder: Path, life: str, node: str, size: int, age: int) -> Path:
    path = folder / "logs" / life / f"{node}.0123456789ab.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, ns=(10**18 - age, 10**18 - age))
    return path


@pytest.fixture
def four(tmp_path: Path) -> list[Path]:
    """Of 100 bytes each, the oldest first; the first two are a life of their own."""
    lives = ("1", "1", "2", "2")
    return [archived(tmp_path, life, f"kv-{n}", 100, 10 - n) for n, life in enumerate(lives)]


@pytest.mark.parametrize(
    ("most", "left", "said"),
    [(400, 4, (0, 0)), (399, 3, (1, 100)), (250, 2, (2, 200)), (150, 1, (3, 300)), (1, 1, (3, 300))],
)
def test_the_oldest_go_and_the_youngest_stays(
    tmp_path: Path, four: list[Path], most: int, left: int, said: tuple[int, int]
) -> None:
    assert trim(tmp_path, most) == said
    assert [path for path in four if path.exists()] == four[-left:]
    assert (tmp_path / "logs" / "1").exists() == (left > 2)


def test_nothing_to_trim(tmp_path: Path) -> None:
    assert trim(tmp_path, 1) == (0, 0)
    other = tmp_path / "logs" / "1" / "notes.txt"
    archived(tmp_path, "1", "kv-1", 100, 5)
    archived(tmp_path, "2", "kv-1", 100, 1)
    other.write_text("mine")
    assert trim(tmp_path, 1) == (1, 100)
    assert other.read_text() == "mine"
