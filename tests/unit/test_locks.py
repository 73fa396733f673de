"""One holder at a time; a dead holder is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clusterkit import locks
from clusterkit.errors import EXIT_LOCKED, Locked


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_held_lock_is_refused_and_names_its_holder() -> None:
    with (
        locks.held("engine", "shop"),
        pytest.raises(Locked, match=f"pid {os.getpid()}") as caught,
        locks.held("engine", "shop"),
    ):
        pass
    assert caught.value.exit_code == EXIT_LOCKED


def test_other_clusters_and_engines_are_free() -> None:
    with locks.held("engine", "shop") as one, locks.held("engine", "other") as two, locks.held("else", "shop") as three:
        assert len({one, two, three}) == 3


def test_nothing_is_left_after_it() -> None:
    with locks.held("unix:///var/run/docker.sock", "shop") as path:
        assert path.exists()
    assert list(path.parent.iterdir()) == []


def test_a_killed_holder_holds_nothing() -> None:
    code = (
        "import time\nfrom clusterkit import locks\n"
        "with locks.held('engine', 'shop'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(Locked), locks.held("engine", "shop"):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    with locks.held("engine", "shop") as path:
        assert path.exists()
    assert not path.exists()
