"""L4, pure but for looking what a mount is. What the files of a rendered folder share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.model.image import BuildImage, Image, Install, Pull
from clusterkit.model.topology import Mount
from clusterkit.plan import NodePlan, Plan


@dataclass(frozen=True)
class Output:
    """A file of a rendered folder, by its path in it: its bytes, or the file or folder here that it is copied from.

    `is_secret`: it may hold passwords.
    """

    path: str
    content: bytes | Path
    is_secret: bool = False


def yaml_text(comment: str, value: object) -> bytes:
    """YAML that people can read, below a comment. Text that Ansible would take for a template is marked `!unsafe`."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  PyYAML's own
            super().increase_indent(flow, False)

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))
    said = "".join(f"# {line}\n" for line in comment.splitlines())
    return (said + yaml.dump(value, Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)).encode()


class Unsafe(str):
    """Text with braces that are not Ansible's."""

    __slots__ = ()


def as_json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def is_on_hosts(node: NodePlan) -> bool:
    """Whether a role can put it on a host: a program that only an image of the user's holds, it cannot."""
    return not isinstance(node.image, BuildImage) and not (isinstance(node.image, Pull) and node.kind == "service")


def images(plan: Plan) -> tuple[Image, ...]:
    """All that the nodes are made from, each once."""
    return tuple(dict.fromkeys(node.image for node in plan.nodes))


def packages(node: NodePlan) -> tuple[str, ...]:
    return node.image.packages if isinstance(node.image, Install) else ()


def copy_of(node: NodePlan, mount: Mount) -> str:
    """Where a rendered folder has its copy of what is mounted; "" for what cannot be copied (a socket, a device)."""
    if not mount.source.is_file() and not mount.source.is_dir():
        return ""
    return f"mounts/{node.component}/{node.mounts.index(mount) + 1}-{mount.source.name}"


def probe(plan: Plan, node: NodePlan) -> tuple[str, ...]:
    return tuple(plan.components[node.component].probe(plan.groups[node.component], node.member))


def setup(plan: Plan, component: str) -> tuple[str, ...]:
    return tuple(plan.components[component].setup(plan.groups[component]))


def secrets(plan: Plan) -> tuple[bytes, ...]:
    return tuple(value.encode() for group in plan.groups.values() for value in group.secrets.values())


def allocation(plan: Plan) -> dict[str, Any]:
    """What a plan was made with, as JSON takes it: the fields of an Allocation that a new cluster needs."""
    return {
        "subnet": plan.subnet,
        "addresses": {node.name: node.member.address for node in plan.nodes},
        "host_ports": {node.name: dict(node.member.host_ports) for node in plan.nodes},
        "secrets": {name: dict(group.secrets) for name, group in plan.groups.items()},
    }
