"""L7. Roles into images: one Ansible run for all images that are missing, each role in a build container of its own.

One run and not one per role, because Ansible's start costs more than most roles. The strategy is mitogen's free one:
no role waits for another, and one that fails does not keep the others from being committed.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterkit import paths
from clusterkit.errors import InstallFailed
from clusterkit.journal import Journal
from clusterkit.model.image import Install
from clusterkit.provision.base import release_of
from clusterkit.provision.builder import (
    LISTS,
    Builder,
    builder_name,
    prepare,
    remove_container,
    start_builder,
    work_name,
)
from clusterkit.provision.recipe import role_folders, role_path
from clusterkit.provision.sources import Machine, masked

if TYPE_CHECKING:
    from docker import APIClient

_LAST_LINES = 15


@dataclass
class _Outcome:
    """What Ansible told of one builder."""

    task: str = ""
    lines: list[str] = field(default_factory=list)
    failed: bool = False


def install(
    client: APIClient,
    journal: Journal,
    machine: Machine,
    images: Mapping[Install, str],
    base: str,
    lists: bytes | None,
    folder: Path,
    roles: Sequence[Path],
    stop: threading.Event,
) -> None:
    """Makes `images` (image -> tag). `lists`: package lists if they are at hand; `folder` is ours until the end;
    `stop` ends it early.

    Raises: InstallFailed for the first role that failed, after the others were committed.
    """
    codename = release_of(client, base)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            started = pool.map(lambda tag: start_builder(client, base, tag), images.values())
            builders = dict(zip(images, started, strict=True))
            list(pool.map(lambda build: prepare(build, machine, codename), builders.values()))
            known = lists if lists is not None else _update(builders, machine)
            list(pool.map(lambda build: _put_lists(build, known), builders.values()))
            outcomes = _play(journal, machine, builders, folder, roles, stop)
            good = {image: build for image, build in builders.items() if not outcomes[build.name].failed}
            with journal.step(f"commit {len(good)} {'image' if len(good) == 1 else 'images'}", level="debug"):
                list(pool.map(lambda image: good[image].commit(image.role, images[image]), good))
        finally:
            names = [builder_name(work_name(tag)) for tag in images.values()]
            list(pool.map(lambda name: remove_container(client, name), names))
    for image, build in builders.items():
        if outcomes[build.name].failed:
            raise _failed(image, outcomes[build.name], roles)


def _update(builders: Mapping[Install, Builder], machine: Machine) -> bytes:
    """Fetches the package lists once, in the first builder."""
    build = next(iter(builders.values()))
    code, output = build.run("apt-get", "update", environment=machine.build_environment())
    if code != 0:
        raise InstallFailed(
            f"the package lists could not be fetched: `apt-get update` ended with {code}",
            mend="see whether this machine reaches its package sources (`apt-get update`)",
            evidence=masked(output).splitlines()[-_LAST_LINES:],
        )
    return build.lists()


def _put_lists(build: Builder, lists: bytes) -> None:
    build.put(lists)
    build.run("touch", LISTS)  # they are as new as the build: the roles fetch none of their own


def _play(
    journal: Journal,
    machine: Machine,
    builders: Mapping[Install, Builder],
    folder: Path,
    roles: Sequence[Path],
    stop: threading.Event,
) -> dict[str, _Outcome]:
    """Runs the playbook; builder name -> what became of it."""
    import ansible_mitogen
    import ansible_runner

    kinds = {build.name: image.role for image, build in builders.items()}
    outcomes = {name: _Outcome(failed=True, lines=["Ansible never reached it"]) for name in kinds}

    def hear(event: Mapping[str, Any]) -> bool:
        about = event.get("event_data", {})
        host = about.get("host", "")
        if host in outcomes:
            _hear(journal, event["event"], about, kinds[host], outcomes[host])
        return False  # nothing is kept on disk

    private = folder / "run"
    private.mkdir()
    config = folder / "ansible.cfg"
    config.touch()
    plugins = Path(ansible_mitogen.__file__).parent / "plugins"
    inventory = {
        "all": {
            "hosts": {
                build.name: {"clusterkit_kind": image.role, "clusterkit_packages": list(image.packages)}
                for image, build in builders.items()
            },
            "vars": {
                "ansible_connection": "mitogen_docker",
                "ansible_python_interpreter": "/usr/bin/python3",
                "clusterkit_build_environment": machine.build_environment(),
            },
        }
    }
    settings = {
        "PATH": os.pathsep.join((str(_program(folder)), os.environ.get("PATH", os.defpath))),
        "ANSIBLE_CONFIG": str(config),  # and none that lies about on this machine
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_ROLES_PATH": os.pathsep.join(str(path) for path in role_folders(roles)),
        "ANSIBLE_STRATEGY_PLUGINS": str(plugins / "strategy"),
        "ANSIBLE_STRATEGY": "mitogen_free",
        "ANSIBLE_FORKS": str(len(builders)),
        "ANSIBLE_REMOTE_TEMP": "/tmp/.ansible",  # noqa: S108 - the builder's own /tmp
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "LC_ALL": "C.UTF-8",
        **_engine_address(),
    }
    run = ansible_runner.run(
        private_data_dir=str(private),
        playbook=str(paths.playbooks() / "images.yml"),
        inventory=inventory,
        envvars=settings,
        quiet=True,
        event_handler=hear,
        cancel_callback=stop.is_set,
    )
    with run.stdout as output:
        told = output.read().splitlines()[-_LAST_LINES:]
    for outcome in outcomes.values():
        if outcome.failed and not outcome.task:
            outcome.lines = told
    return outcomes


def _program(folder: Path) -> Path:
    """A folder with an ansible-playbook that dies with us: a killed clusterkit would leave one waiting for ever."""
    ours = Path(sys.executable).parent / "ansible-playbook"
    path = folder / "bin" / "ansible-playbook"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec setpriv --pdeathsig TERM {shlex.quote(str(ours))} "$@"\n')
    path.chmod(0o755)
    return path.parent


def _hear(journal: Journal, event: str, about: Mapping[str, Any], kind: str, outcome: _Outcome) -> None:
    """One event of Ansible: what a task did on one builder."""
    if event not in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
        return
    outcome.task = str(about.get("task", ""))
    outcome.failed = event != "runner_on_ok" and not about.get("ignore_errors")
    result = about.get("res") or {}
    outcome.lines = _words(result)
    journal.say(
        f"{kind}: {outcome.task}",
        level="error" if outcome.failed else "debug",
        component=kind,
        seconds=round(float(about.get("duration") or 0), 3),
        changed=bool(result.get("changed")),
    )


def _words(result: Mapping[str, Any]) -> list[str]:
    """The last lines a task left: its message, then its output."""
    parts = [str(result.get(name) or "") for name in ("msg", "module_stderr", "stdout", "stderr", "exception")]
    lines = [line for part in dict.fromkeys(parts) for line in masked(part).splitlines() if line.strip()]
    return lines[-_LAST_LINES:]


def _failed(image: Install, outcome: _Outcome, roles: Sequence[Path]) -> InstallFailed:
    packages = f" with {', '.join(image.packages)}" if image.packages else ""
    return InstallFailed(
        f'the role "{image.role}"{packages} could not be installed into an image: the task "{outcome.task}" failed',
        where=role_path(image.role, roles),
        mend="see the lines above; a package's name must be one of the distribution's (`apt-cache search`)",
        evidence=outcome.lines,
    )


def _engine_address() -> dict[str, str]:
    """The docker program finds an engine by itself, except on a socket that only we look for (Podman's)."""
    from clusterkit.providers.engine import find_address

    address = find_address()
    return {"DOCKER_HOST": address} if address.startswith("unix://") else {}
