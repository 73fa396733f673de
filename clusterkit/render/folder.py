"""L4, pure but for reading templates and roles. Plan -> all files of a folder that stands alone.

The same topology and allocation give the same bytes. Source: docs/render.md tells every file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from clusterkit import paths
from clusterkit.model.image import BuildImage, Image, Install, Pull
from clusterkit.plan import NodePlan, Plan
from clusterkit.render import tree
from clusterkit.render.compose import compose, context
from clusterkit.render.hosts import inventory, machines
from clusterkit.render.parts import Output, as_json, copy_of, is_on_hosts, probe, secrets, yaml_text

_COMMENT = "{} of the cluster {}, by `clusterkit render`. Edit the topology and render again: this file is replaced."


def outputs(plan: Plan, tags: Mapping[Image, str]) -> tuple[Output, ...]:
    """Every file, sorted by path. `tags`: image -> what it is called. Raises: ClusterkitError for a broken template."""
    made = [*_of_all(plan, tags), *_of_hosts(plan), *_of_components(plan)]
    for node in plan.nodes:
        for file in (*tree.files(plan, node), *tree.seeds(plan, node)):
            is_secret = any(secret in file.content for secret in secrets(plan))
            made.append(Output(f"nodes/{node.name}{file.path}", file.content, is_secret))
    return tuple(sorted(made, key=lambda output: output.path))


def notes(plan: Plan) -> tuple[str, ...]:
    """What could not be carried over, or only in part."""
    return tuple(_notes(plan))


def _of_all(plan: Plan, tags: Mapping[Image, str]) -> Iterator[Output]:
    compose_file = yaml_text(_COMMENT.format("A Compose file", plan.name), compose(plan, tags))
    yield Output("docker-compose.yml", compose_file, is_secret=True)
    yield Output(".env", f"COMPOSE_PROJECT_NAME={plan.name}\n".encode())
    yield Output("start.sh", paths.templates() / "render" / "start.sh")
    yield Output("README.md", _readme(plan, tags))


def _of_hosts(plan: Plan) -> Iterator[Output]:
    nodes = [node for node in plan.nodes if is_on_hosts(node)]
    if not nodes:
        return
    listed = yaml_text(_COMMENT.format("An inventory", plan.name), inventory(plan))
    yield Output("inventory.yml", listed, is_secret=True)
    yield Output("site.yml", paths.playbooks() / "site.yml")
    yield Output("tasks", paths.playbooks() / "tasks")
    yield Output("roles/common", paths.playbooks() / "roles" / "common")
    for kind, home in sorted({(node.kind, plan.components[node.component].home) for node in nodes}):
        yield Output(f"roles/{kind}", _role(kind, home))
    yield Output("vagrant.json", as_json(machines(plan)))
    yield Output("Vagrantfile", paths.vagrantfile())


def _role(kind: str, home: str) -> Path:
    """Ours, where there is one of that name: so do images."""
    ours = paths.playbooks() / "roles" / kind
    return ours if ours.is_dir() else Path(home) / "roles" / kind


def _of_components(plan: Plan) -> Iterator[Output]:
    """What the nodes of a component have in common: the folders that it mounts and is built from."""
    for node in {node.component: node for node in plan.nodes}.values():
        for mount in node.mounts:
            copy = copy_of(node, mount)
            if copy:
                yield Output(copy, mount.source)
        if isinstance(node.image, BuildImage):
            yield Output(context(node.component), node.image.build.context)


def _readme(plan: Plan, tags: Mapping[Image, str]) -> bytes:
    names = {
        "cluster": plan.name,
        "subnet": plan.subnet,
        "installed": sorted({tags[node.image] for node in plan.nodes if isinstance(node.image, Install)}),
        "machines": sum(is_on_hosts(node) for node in plan.nodes),
        "notes": notes(plan),
    }
    return tree.filled("render/README.md.j2", names).encode()


def _notes(plan: Plan) -> Iterator[str]:
    for node in {node.component: node for node in plan.nodes}.values():
        yield from _notes_of(plan, node)
    if plan.topology.links:
        yield "the delays and losses of links: are made by clusterkit alone, and are left out"


def _notes_of(plan: Plan, node: NodePlan) -> Iterator[str]:
    name = node.component
    if not is_on_hosts(node):
        yield f"{name} is an image of yours: it is in docker-compose.yml, not in the inventory"
    elif isinstance(node.image, Pull):
        yield f"{name} is {node.image.reference} in docker-compose.yml; on hosts it is what their distribution has"
    if is_on_hosts(node) and (node.cpus or node.memory_bytes):
        yield f"cpus and memory of {name} are limited in containers, and not on hosts"
    if node.has_disk:
        yield f"{name} has no disk of its own (data: loop), but a volume"
    if not probe(plan, node):
        yield f"{name} has neither a port nor a health check: nobody waits until it serves"
    for mount in node.mounts:
        if not copy_of(node, mount):
            yield f"{name}: {mount.source} cannot be copied, and stays where it is"
