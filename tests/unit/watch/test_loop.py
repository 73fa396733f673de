"""What nodes get for a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clusterkit.components.service import WatchOptions
from clusterkit.node import File
from clusterkit.watch.files import Rule
from clusterkit.watch.loop import deliver


def _rule(path: Path, number: int = 0, **options: Any) -> Rule:
    return Rule("api", number, WatchOptions.model_validate({"path": path, **options}))


def test_files_are_copied_with_their_mode_and_those_that_went_are_removed(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"\x00\x01")
    (tmp_path / "run").chmod(0o755)
    delivery = deliver({_rule(tmp_path, action="sync", target="/srv/"): {"run", "lib/gone"}})
    assert delivery.files == (File("/srv/run", b"\x00\x01", 0o755),)
    assert (delivery.removed, delivery.then, delivery.words) == (("/srv/lib/gone",), "", "synced")


def test_what_is_mounted_is_not_copied(tmp_path: Path) -> None:
    delivery = deliver({_rule(tmp_path): {"gone"}})
    assert (delivery.files, delivery.removed, delivery.words) == ((), (), "restarted")


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (["sync", "signal"], "synced and signalled"),
        (["signal", "exec", "sync+restart"], "synced and restarted"),
        (["sync+exec"], "synced and told by a command"),
        (["sync+restart", "rebuild"], "rebuilt"),
    ],
)
def test_the_strongest_action_is_enough(tmp_path: Path, actions: list[str], words: str) -> None:
    (tmp_path / "a").write_text("a")
    changes = {}
    for number, action in enumerate(actions):
        options: dict[str, Any] = {"target": "/srv"} if action.startswith("sync") else {}
        options |= {"command": "reload now"} if action.endswith("exec") else {}
        changes[_rule(tmp_path, number, action=action, **options)] = {"a"}
    delivery = deliver(changes)
    assert delivery.words == words
    has_restart = delivery.then in ("restart", "rebuild")
    assert delivery.signals == (() if has_restart or "signal" not in actions else ("HUP",))
    assert delivery.commands == (() if has_restart or "sync+exec" not in actions else (("reload", "now"),))


def test_one_signal_of_a_kind_is_enough(tmp_path: Path) -> None:
    rules = [_rule(tmp_path, n, action="signal", signal=name) for n, name in enumerate(["HUP", "SIGUSR1", "hup"])]
    assert deliver({rule: {"a"} for rule in rules}).signals == ("HUP", "USR1")
