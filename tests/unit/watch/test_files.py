"""Which files changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clusterkit.components.service import WatchOptions
from clusterkit.watch.files import Rule, Watcher, differing, look


def _rule(path: Path, context: Path | None = None, **options: Any) -> Rule:
    return Rule("api", 0, WatchOptions.model_validate({"path": path, **options}), context)


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_look_finds_files_and_leaves_out_what_editors_and_interpreters_write(tmp_path: Path) -> None:
    _write(tmp_path, "api.py", "lib/deep/a.py", "lib/__pycache__/a.pyc", ".git/HEAD", ".api.py.swp", "api.py~", "4913")
    assert set(look(_rule(tmp_path))) == {"api.py", "lib/deep/a.py"}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.log", {"a.py", "tmp/a.py", "docs/a.md", "docs/deep/a.md", "tmp.d"}),
        ("tmp/", {"a.py", "x.log", "docs/a.md", "docs/deep/a.md", "tmp.d"}),
        ("tmp", {"a.py", "x.log", "docs/a.md", "docs/deep/a.md", "tmp.d"}),
        ("docs/*.md", {"a.py", "x.log", "tmp/a.py", "tmp/x.log", "tmp.d"}),
        ("./docs/deep/", {"a.py", "x.log", "tmp/a.py", "tmp/x.log", "docs/a.md", "tmp.d"}),
        ("tmp.d/", {"a.py", "x.log", "tmp/a.py", "tmp/x.log", "docs/a.md", "docs/deep/a.md", "tmp.d"}),
    ],
)
def test_patterns_are_by_name_by_folder_or_by_the_whole_way(tmp_path: Path, pattern: str, left: set[str]) -> None:
    _write(tmp_path, "a.py", "x.log", "tmp/a.py", "tmp/x.log", "docs/a.md", "docs/deep/a.md", "tmp.d")
    assert set(look(_rule(tmp_path, ignore=[pattern]))) == left


def test_what_is_left_out_of_the_image_is_left_out_here(tmp_path: Path) -> None:
    _write(tmp_path, "src/a.py", "src/notes.md", "src/big/x", "src/big/keep")
    rule = _rule(tmp_path / "src", tmp_path, action="sync", target="/srv")
    (tmp_path / ".dockerignore").write_text("# notes\nsrc/*.md\n\nsrc/big\n")
    assert set(look(rule)) == {"a.py"}
    (tmp_path / ".dockerignore").write_text("src/*.md\nsrc/big\n!src/big/keep\n")
    assert set(look(rule)) == {"a.py", "big/keep"}


def test_changed_new_and_removed_files_are_told_apart_from_those_that_stay(tmp_path: Path) -> None:
    _write(tmp_path, "same", "other", "gone")
    rule = _rule(tmp_path)
    before = look(rule)
    os.utime(tmp_path / "other", ns=(1, 1))
    (tmp_path / "gone").unlink()
    _write(tmp_path, "new")
    assert differing(before, look(rule)) == {"other", "gone", "new"}


def test_a_file_may_be_watched_itself(tmp_path: Path) -> None:
    _write(tmp_path, "conf", "beside")
    rule = _rule(tmp_path / "conf", action="sync", target="/etc/conf")
    assert set(look(rule)) == {""}
    assert rule.target("") == "/etc/conf"
    (tmp_path / "conf").unlink()
    assert look(rule) == {}


def test_a_link_that_leads_nowhere_and_a_socket_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert look(_rule(tmp_path)) == {}


@pytest.fixture
def watching(request: pytest.FixtureRequest) -> Callable[..., Watcher]:
    def begin(*rules: Rule) -> Watcher:
        watcher = Watcher(rules)
        request.addfinalizer(watcher.close)
        return watcher

    return begin


def _replace(path: Path) -> None:
    """As editors do it."""
    path.with_name(".new").write_text("new text")
    path.with_name(".new").replace(path)


def test_the_kernel_wakes_a_watcher(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    _write(tmp_path, "src/a.py", "conf", "beside")
    source, conf = _rule(tmp_path / "src"), _rule(tmp_path / "conf")
    watcher = watching(source, conf)
    _replace(tmp_path / "conf")
    assert watcher.take() == {conf: {""}}
    _write(tmp_path, "src/deep/b.py", "beside", "src/__pycache__/a.pyc")
    assert watcher.take() == {source: {"deep/b.py"}}
    assert not watcher.changed.is_set()


def test_a_folder_that_went_and_came_back_is_watched_again(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    _write(tmp_path, "src/a.py")
    source = _rule(tmp_path / "src")
    watcher = watching(source)
    (tmp_path / "src").rename(tmp_path / "away")
    assert watcher.take() == {source: {"a.py"}}
    _write(tmp_path, "src/b.py")
    assert watcher.take() == {source: {"b.py"}}
    _write(tmp_path, "src/c/d.py")
    assert watcher.take() == {source: {"c/d.py"}}


def test_what_was_not_taken_is_gathered(tmp_path: Path, watching: Callable[..., Watcher]) -> None:
    _write(tmp_path, "a", "b")
    rule = _rule(tmp_path)
    watcher = watching(rule)
    os.utime(tmp_path / "a", ns=(1, 1))
    watcher.look_again()
    os.utime(tmp_path / "b", ns=(1, 1))
    watcher.look_again()
    assert watcher.take() == {rule: {"a", "b"}}
