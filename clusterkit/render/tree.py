"""L4, pure but for reading templates. The files of each node as bytes, and the fingerprint of all it is made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError

from clusterkit import paths
from clusterkit.components.base import Template
from clusterkit.errors import ClusterkitError
from clusterkit.node import File
from clusterkit.plan import NodePlan, Plan

SECRETS = "/etc/clusterkit/secrets.json"
"""Each node holds its own component's secrets, for root only: a cluster stays usable when the folder beside the
topology is gone."""

_FINGERPRINT_OF = 1
"""Raised when the meaning of a fingerprint changes, so that old nodes are made anew."""


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


def fingerprint(node: NodePlan, made: tuple[File, ...], image: str) -> str:
    """A hash of all that a node is made from, seeds left out: they are the system's own once they are there."""
    parts = {
        "of": _FINGERPRINT_OF,
        "image": image,
        "command": node.command,
        "environment": dict(node.environment),
        "user": node.user,
        "files": [[file.path, hashlib.sha256(file.content).hexdigest(), file.mode, file.owner] for file in made],
        "data": [node.data, node.data_kind],
        "mounts": [[str(mount.source), mount.target, mount.read_only] for mount in node.mounts],
        "hosts": dict(node.hosts),
        "limits": [node.cpus, node.memory_bytes],
        "stop_signal": node.stop_signal,
        "address": node.member.address,
        "host_ports": dict(node.member.host_ports),
        "zone": node.member.zone,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


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
def _source(home: str, template: str) -> str:
    return ((Path(home) / "templates" if home else paths.templates()) / template).read_text()


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
        text = _environment().from_string(_source(plan.components[node.component].home, template.source)).render(names)
    except (TemplateError, OSError) as error:
        raise ClusterkitError(f"the template {template.source} of {node.name} cannot be rendered: {error}") from error
    return File(path, text.encode(), template.mode, template.owner)
