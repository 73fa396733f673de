"""Images are listed, saved, loaded and pruned; all clusters go at once; a shell completes names."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clusterkit.errors import UsageError
from clusterkit.providers.docker import DockerProvider
from clusterkit.provision.store import Stored, load, remove, save, stale, stored
from tests.integration.conftest import Folder

API = """
components:
  api: {kind: service, command: [python3, -m, http.server, "8080"], ports: {http: 8080}}
"""


@pytest.fixture
def image() -> Iterator[Stored]:
    """An image that is ours, small, and nobody else's."""
    client = DockerProvider().client
    tag = f"clusterkit/build-t{secrets.token_hex(4)}:1"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(tag.replace("/", "-")))
    repository, _, version = tag.rpartition(":")
    changes = ["LABEL clusterkit.image=build", "CMD /x"]
    client.import_image_from_data(content.getvalue(), repository=repository, tag=version, changes=changes)
    yield next(one for one in stored(client) if one.tag == tag)
    remove(client, [one for one in stored(client) if one.tag == tag])


def _is_there(image: Stored) -> bool:
    return image.tag in {one.tag for one in stored(DockerProvider().client)}


@pytest.mark.parametrize("name", ["images.tar", "images.tar.gz"])
def test_images_go_into_a_file_and_come_back(image: Stored, name: str, tmp_path: Path) -> None:
    provider = DockerProvider()
    file = tmp_path / name
    save(provider.address, [image], file)
    assert remove(provider.client, [image]) == (image,)
    assert not _is_there(image)
    assert load(provider.address, file) == (image.tag,)
    assert _is_there(image)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UsageError, match=r"cannot be read|no archive|cannot be loaded"):
        load(provider.address, file)


def test_what_is_not_ours_is_not_loaded(image: Stored, tmp_path: Path) -> None:
    provider = DockerProvider()
    foreign = f"somebody-{secrets.token_hex(4)}"
    provider.client.tag(image.tag, foreign, "1")
    try:
        save(provider.address, [replace(image, tag=f"{foreign}:1")], tmp_path / "x.tar")
        with pytest.raises(UsageError, match=f"holds {foreign}:1, which clusterkit has not saved"):
            load(provider.address, tmp_path / "x.tar")
    finally:
        provider.client.remove_image(f"{foreign}:1")
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(UsageError, match="cannot be read"):
        load(provider.address, tmp_path / "text.tar")


def test_only_what_nothing_needs_is_stale(image: Stored) -> None:
    client = DockerProvider().client
    assert image in stale(stored(client), set())
    assert image not in stale(stored(client), {image.tag})
    container = client.create_container(image.tag, ["x"])["Id"]
    try:
        used = next(one for one in stored(client) if one.tag == image.tag)
        assert used.users
        assert used not in stale(stored(client), set())
        assert remove(client, [used]) == ()
    finally:
        client.remove_container(container)


def test_saved_for_ci(folder: Folder) -> None:
    folder.write(API)
    folder.run("up")
    listed = folder.run("images").stdout.splitlines()
    service = next(line.split()[0] for line in listed if line.startswith("clusterkit/service:") and "container" in line)
    assert folder.run("images", "save", "-o", "images.tar").stdout.startswith("images.tar: ")
    assert (folder.path / "images.tar").stat().st_size > 50 * 2**20
    assert "loaded" in folder.run("images", "load", "-i", "images.tar").stdout
    assert "is not there" in folder.run("images", "load", "-i", "no.tar", code=64).stderr
    assert service not in folder.run("prune", "--dry-run").stdout
    assert service not in folder.run("prune", "--all", "--dry-run").stdout


def test_down_all_names_them_and_asks(new_folder: Callable[[], Folder]) -> None:
    folders = [new_folder(), new_folder()]
    for one in folders:
        one.write(API.replace("kind: service", "kind: service, replicas: 1"))
        one.run("up")
    asked = folders[0].run("down", "--all", code=64)
    assert "nobody is here to be asked" in asked.stderr
    for one in folders:
        assert f"{one.name}: 1 node" in asked.stdout
        assert one.nodes()


def _completed(folder: Folder, *words: str) -> list[str]:
    environment = {
        **os.environ,
        "_CLUSTERKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["clusterkit", *words]),
        "COMP_CWORD": str(len(words)),
    }
    argv = [sys.executable, "-m", "clusterkit"]
    seen = subprocess.run(argv, cwd=folder.path, env=environment, capture_output=True, text=True, check=True)
    assert seen.stderr == ""
    return [line.partition(",")[2] for line in seen.stdout.splitlines() if line]


def test_a_shell_completes_what_is_there(folder: Folder) -> None:
    folder.write(API)
    assert _completed(folder, "up", "a") == ["api"]
    folder.run("up")
    assert _completed(folder, "restart", "a") == ["api", "api-1", "api-2", "api-3", "all"]
    assert folder.name in _completed(folder, "down", "--name", folder.name[:4])
    assert _completed(folder, "scale", "a") == ["api="]
    assert "pause" in _completed(folder, "chaos", "pa")
    (folder.path / "clusterkit.yml").write_text("components: [")
    assert _completed(folder, "up", "a") == []
    script = folder.run("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_archived_logs_keep_to_their_limit(folder: Folder) -> None:
    many = "head -c 2000000 /dev/urandom | base64 -w 120; echo done; exec sleep 1000"
    folder.write(
        "logging: {limit: 3MB}\n"
        f"components: {{writer: {{kind: service, replicas: 1, command: [sh, -c, {json.dumps(many)}]}}}}\n"
    )
    kept = folder.path / ".clusterkit" / folder.name / "logs"
    lives = []
    for _ in range(2):
        folder.run("up")
        while "done" not in folder.run("logs", "--tail", "1").stdout:
            time.sleep(0.2)
        said = folder.run("down").stderr
        lives.append({path.name for path in kept.iterdir()})
    assert "removed the oldest of the archived logs" in said
    assert [len(names) for names in lives] == [1, 1]
    assert lives[0] != lives[1]
    assert folder.run("logs", "--archive", "--tail", "1", "--no-own").stdout.endswith("done\n")
