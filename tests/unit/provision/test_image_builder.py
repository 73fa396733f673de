"""Names that no node can have, users as the image has them, archives from the root."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from clusterkit.node import File
from clusterkit.provision.builder import builder_name, moved, parse_passwd, tar, tar_of, work_folder, work_name

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
etcd:x:100:101::/var/lib/etcd/:/bin/false
etcd:x:999:999:a second one never counts::
broken:x:no:1::
+::::::

short:x
"""


def names(archive: bytes) -> dict[str, tuple[int, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            item.name: (item.mode, content.read() if (content := opened.extractfile(item)) else b"") for item in opened
        }


def test_users() -> None:
    assert parse_passwd(PASSWD) == {"root": (0, 0), "etcd": (100, 101)}


def test_a_builder_has_an_underscore_and_the_name_of_its_work() -> None:
    assert work_name("clusterkit/redis-sentinel:12ab") == "redis-sentinel.12ab"
    assert builder_name("redis.12ab").startswith("clusterkit_build_")
    assert builder_name("redis.12ab").endswith("_redis.12ab")


def test_an_archive_is_roots_and_keeps_modes() -> None:
    made = tar((File("/etc/apt/auth.conf", b"x", 0o600), File("/usr/sbin/policy-rc.d", b"exit 101", 0o755)))
    assert names(made) == {"etc/apt/auth.conf": (0o600, b"x"), "usr/sbin/policy-rc.d": (0o755, b"exit 101")}


def test_lists_move_from_one_builder_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/release").write_bytes(b"packages")
    from_disk = names(tar_of(tmp_path / "lists", "/var/lib/apt/lists"))
    from_builder = names(moved(tar_of(tmp_path / "lists", "lists"), "/var/lib/apt"))
    assert from_disk == from_builder
    assert from_disk["var/lib/apt/lists/release"][1] == b"packages"


def test_a_work_folder_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (work_folder("redis.1") / "left").touch()
    assert list(work_folder("redis.1").iterdir()) == []
