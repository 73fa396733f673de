"""A tag changes with all that an image is made of, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.errors import InstallFailed
from clusterkit.model.image import BuildImage, Install, Pull
from clusterkit.model.topology import Build
from clusterkit.provision.recipe import base_tag, image_tag, role_path


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    for name, text in {"tasks/install.yml": "---\n", "meta/main.yml": "---\n", "files/start": "#!/bin/sh\n"}.items():
        path = tmp_path / "roles/kvstore" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "roles"


def tag(roles: Path, *packages: str) -> str:
    return image_tag(Install("kvstore", packages), [roles])


def test_a_tag_is_stable_and_names_the_kind(roles: Path) -> None:
    assert tag(roles) == tag(roles)
    assert tag(roles).startswith("clusterkit/kvstore:")
    assert base_tag() == base_tag()
    assert base_tag().startswith("clusterkit/base:")


@pytest.mark.parametrize("name", ["tasks/install.yml", "meta/main.yml", "files/start"])
def test_any_file_of_the_role_changes_it(roles: Path, name: str) -> None:
    before = tag(roles)
    (roles / "kvstore" / name).write_text("# other\n")
    assert tag(roles) != before


def test_a_new_file_a_new_mode_and_packages_change_it(roles: Path) -> None:
    seen = {tag(roles), tag(roles, "tree"), tag(roles, "tree", "jq")}
    (roles / "kvstore/files/start").chmod(0o755)
    seen.add(tag(roles))
    (roles / "kvstore/files/new").touch()
    seen.add(tag(roles))
    assert len(seen) == 5


def test_the_order_of_packages_and_other_roles_do_not(roles: Path) -> None:
    before = tag(roles, "jq", "tree")
    (roles / "other").mkdir()
    (roles / "other/file").touch()
    assert tag(roles, "tree", "jq") == before


def test_roles_of_ours_come_first_and_a_missing_one_is_an_error(roles: Path) -> None:
    assert role_path("kvstore", [roles]) == roles / "kvstore"
    (roles / "etcd/tasks").mkdir(parents=True)
    (roles / "etcd/tasks/install.yml").touch()
    assert role_path("etcd", [roles]) != roles / "etcd"
    with pytest.raises(InstallFailed, match=f"nothing/tasks/install.yml was looked for in .*{roles}"):
        role_path("nothing", [roles])


@pytest.mark.parametrize("kind", ["etcd", "redis", "redis-sentinel", "service"])
def test_every_shipped_kind_has_a_role(kind: str) -> None:
    assert (role_path(kind) / "meta/argument_specs.yml").is_file()
    assert {path.stem for path in (role_path(kind) / "tasks").iterdir()} == {"install", "configure", "service", "main"}


def test_a_pulled_image_is_its_reference() -> None:
    assert image_tag(Pull("registry.example/x:1")) == "registry.example/x:1"


def test_a_build_follows_its_context_but_not_what_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "api.py").write_text("1")
    (tmp_path / "notes.txt").write_text("1")
    (tmp_path / ".dockerignore").write_text("# not the notes\n*.txt\n")

    def made(**args: str) -> str:
        return image_tag(BuildImage("api", Build(tmp_path, args=args)))

    first = made()
    assert first.startswith("clusterkit/build-api:")
    (tmp_path / "notes.txt").write_text("2")
    assert made() == first
    assert made(LEVEL="2") != first
    (tmp_path / "api.py").write_text("2")
    second = made()
    (tmp_path / "Dockerfile").write_text("FROM debian\n")
    assert len({first, second, made()}) == 3


def test_a_missing_dockerfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="Dockerfile, and there is no such file"):
        image_tag(BuildImage("api", Build(tmp_path)))
