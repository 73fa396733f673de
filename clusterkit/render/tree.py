"""L4, pure but for reading templates. The files of each node as bytes, and the parts of all that it is made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError
from jinja2 import Template as JinjaTemplate

from clusterkit import paths
from clusterkit.components.base import Template
from clusterkit.errors import ClusterkitError
from clusterkit.node import File
from clusterkit.plan import NodePlan, Plan

SECRETS = "/etc/clusterkit/secrets.json"
"""Each node holds its own component's secrets, for root only: a cluster stays usable when the folder beside the
topology is gone."""

NO_RESTART = b"# no restart needed"
"""Ends the lines of a template that are also told to the system as it runs: a difference in them is only put in."""

FIRST_START = b"# read at the first start only"
"""Ends the lines of a template that a node which ran before has no use for: a difference in them is none."""

_PARTS_OF = "2"
"""Raised when the meaning of a part changes, so that old nodes are made anew."""


def files(plan: Plan, node: NodePlan) -> tuple[File, ...]:
    """What is put in before the node starts, sorted by path."""
    secrets = plan.groups[node.component].secrets
    made = [_file(plan, node, path, template) for path, template in node.files.items()]
    if secrets:
        made.append(File(SECRETS, json.dumps({node.component: dict(secrets)}, sort_keys=True).encode(), 0o600))
    return tuple(sorted(made, key=lambda file: file.path))


def seeds(plan: Plan, node: NodePlan) -> tuple[File, ...]:
    """What is put into the data folder once, where it is absent."""
    return tuple(_file(plan, node, path, template) for path, template in sorted(node.seeds.items()))


def parts(node: NodePlan, made: tuple[File, ...], image: str, identity: str = "") -> Mapping[str, str]:
    """All that a node is made from, part by part: values as they are where a person may want to read them, else a hash.

    Seeds are left out: they are the system's own once they are there. "notes" are the lines that need no restart.
    `identity` is the image's own, where its name may come to mean another one.
    """
    found = {
        "of": _PARTS_OF,
        "image": image,
        "image's content": identity.removeprefix("sha256:")[:12],
        "command": _hash(node.command),
        "user": node.user,
        "data": f"{node.data_kind} {node.data}" if node.data else "",
        "mounts": _hash([[str(mount.source), mount.target, mount.read_only] for mount in node.mounts]),
        "hosts": _hash(dict(node.hosts)),
        "cpus": "" if node.cpus is None else f"{node.cpus:g}",
        "memory": "" if node.memory_bytes is None else str(node.memory_bytes),
        "stop signal": node.stop_signal,
        "working folder": node.working_dir,
        "address": node.member.address,
        "host ports": ", ".join(f"{name} {port}" for name, port in sorted(node.member.host_ports.items())),
        "zone": node.member.zone,
        "notes": _hash([[file.path, _lines(file, are_notes=True)] for file in made]),
    }
    found |= {f"environment {name}": _hash(value) for name, value in node.environment.items()}
    found |= {f"file {file.path}": _hash([_lines(file, are_notes=False), file.mode, file.owner]) for file in made}
    return {name: value for name, value in found.items() if value}


def _lines(file: File, *, are_notes: bool) -> str:
    lines = [line for line in file.content.splitlines() if not line.endswith(FIRST_START)]
    return b"\n".join(line for line in lines if line.endswith(NO_RESTART) is are_notes).decode(errors="replace")


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def filled(template: str, names: Mapping[str, object], home: str = "") -> str:
    """A template below templates/ of clusterkit, or of `home`. Raises: TemplateError, OSError."""
    return _compiled(home, template).render(names)


@cache
def _environment() -> Environment:
    return Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  configuration files: HTML's escapes would spoil them
    )


@cache
def _compiled(home: str, template: str) -> JinjaTemplate:
    """Once for all nodes: compiling takes far longer than filling in."""
    folder = Path(home) / "templates" if home else paths.templates()
    return _environment().from_string((folder / template).read_text())


def _file(plan: Plan, node: NodePlan, path: str, template: Template) -> File:
    group = plan.groups[node.component]
    names: Mapping[str, object] = {
        "node": node.member,
        "component": group,
        "components": group.needs,
        "cluster": plan.name,
        "subnet": plan.subnet,
    }
    try:
        text = filled(template.source, names, plan.components[node.component].home)
    except (TemplateError, OSError) as error:
        raise ClusterkitError(f"the template {template.source} of {node.name} cannot be rendered: {error}") from error
    return File(path, text.encode(), template.mode, template.owner)
