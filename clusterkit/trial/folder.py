"""L14. The folder of a run: everything needed to judge it again, or to repeat it, written as it becomes known."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clusterkit.errors import UsageError

FORMAT = 1
RUNS = "runs"
LATEST = "latest"


def new_folder(state: Path, scenario: str, started_ns: int) -> Path:
    """`.clusterkit/NAME/runs/20261123-150102-leader-loss`, and `latest` leads to it."""
    runs = state / RUNS
    stamp = datetime.fromtimestamp(started_ns / 1e9, UTC).strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', scenario)}"
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be made: {error.strerror}", mend="make room, or mend its rights"
            ) from error
    _lead_to(runs / LATEST, folder.name)
    return folder


def _lead_to(link: Path, target: str) -> None:
    """In one step, so that nobody ever finds it missing. A file system without links has no `latest`."""
    fresh = link.with_name(f".{LATEST}-{os.getpid()}")
    with suppress(OSError):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(link)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    fresh.replace(path)


def copy_topology(folder: Path, file: Path) -> None:
    """As it was when the run began. A file that is gone by then is no reason to stop."""
    with suppress(OSError):
        shutil.copyfile(file, folder / "topology.yml")
