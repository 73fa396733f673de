"""L4, pure. Plan -> a Compose file that docker-compose 1.29 and `docker compose` take.

Beside what clusterkit makes itself (static addresses, an init, loopback ports, no restart), it has what clusterkit does
by its own clients: health checks, and a service for each component's setup, done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusterkit.model.image import BuildImage, Image, Install
from clusterkit.node import File
from clusterkit.plan import NodePlan, Plan
from clusterkit.render import parts, tree

NETWORK = "cluster"
_INSIDE = "/clusterkit"


def compose(plan: Plan, tags: Mapping[Image, str]) -> dict[str, Any]:
    """`tags`: image -> what to call it."""
    services: dict[str, Any] = {}
    for component in plan.components:
        for node in plan.nodes_of(component):
            services[node.name] = _service(plan, node, tags)
        if parts.setup(plan, component):
            services[_setup_name(component)] = _setup(plan, component, tags)
    return {
        "services": services,
        "networks": {NETWORK: {"driver": "bridge", "ipam": {"config": [{"subnet": plan.subnet}]}}},
        "volumes": {_volume(node): {} for node in plan.nodes if node.data},
    }


def _service(plan: Plan, node: NodePlan, tags: Mapping[Image, str]) -> dict[str, Any]:
    member = node.member
    service = {
        **_image(node, tags),
        "hostname": node.name,
        "init": True,
        **_start(plan, node),
        "environment": {name: _plain(value) for name, value in node.environment.items()},
        "working_dir": node.working_dir,
        "stop_signal": f"SIG{node.stop_signal}",
        "networks": {NETWORK: {"ipv4_address": member.address, "aliases": [node.component]}},
        "ports": [f"127.0.0.1:{number}:{member.ports[name]}" for name, number in member.host_ports.items()],
        "extra_hosts": [f"{name}:{address}" for name, address in node.hosts.items()],
        "volumes": _volumes(plan, node),
        "cpus": node.cpus,
        "mem_limit": node.memory_bytes,
        "memswap_limit": node.memory_bytes,
        "healthcheck": _healthcheck(plan, node),
        "depends_on": _needs(plan, node.component),
        "logging": {"driver": "json-file"},
        "restart": "no",
    }
    return {key: value for key, value in service.items() if value not in (None, "", [], {})}


def _image(node: NodePlan, tags: Mapping[Image, str]) -> dict[str, Any]:
    tag = tags[node.image]
    if isinstance(node.image, BuildImage):
        made = node.image.build
        build = {"context": f"./{context(node.component)}", "dockerfile": made.dockerfile, "args": dict(made.args)}
        return {"image": tag, "build": {key: value for key, value in build.items() if value}}
    return {"image": tag, "pull_policy": "never"} if isinstance(node.image, Install) else {"image": tag}


def context(component: str) -> str:
    """Where a rendered folder has the copy of a component's build context."""
    return f"build/{component}"


def _start(plan: Plan, node: NodePlan) -> dict[str, Any]:
    """Files are copied at each start, by root: an owner of the image's can only be given inside."""
    command = [_plain(word) for word in node.command or ()]
    files = [
        *(_listed("file", file) for file in tree.files(plan, node)),
        *(_listed("seed", file) for file in tree.seeds(plan, node)),
    ]
    if files and command:
        user = node.user if node.user not in ("", "0") else "root"
        words = [word for file in files for word in file]
        return {"user": "0", "entrypoint": ["sh", f"{_INSIDE}/start.sh", user, *words, "--"], "command": command}
    # The program stands in the place of the image's own entry point, which Compose would put before a command.
    return {"user": node.user, "entrypoint": command[:1], "command": command[1:]}


def _listed(what: str, file: File) -> tuple[str, ...]:
    return (what, f"{file.mode:04o}", file.owner or "root", file.path)


def _volumes(plan: Plan, node: NodePlan) -> list[str]:
    volumes = [f"{_volume(node)}:{node.data}"] if node.data else []
    for mount in node.mounts:
        copy = parts.copy_of(node, mount)
        source = f"./{copy}" if copy else str(mount.source)
        volumes.append(f"{_plain(source)}:{_plain(mount.target)}:{'ro' if mount.read_only else 'rw'}")
    files = [file.path for file in (*tree.files(plan, node), *tree.seeds(plan, node))]
    if node.command is None:
        volumes += [f"./nodes/{node.name}{path}:{path}" for path in files]
    elif files:
        volumes += [f"./nodes/{node.name}:{_INSIDE}/node:ro", f"./start.sh:{_INSIDE}/start.sh:ro"]
    return volumes


def _volume(node: NodePlan) -> str:
    return f"{node.name}-data"


def _healthcheck(plan: Plan, node: NodePlan) -> dict[str, Any]:
    """What goes wrong while a node starts does not count: it has the time that the topology gives it."""
    argv = parts.probe(plan, node)
    if not argv:
        return {}
    seconds = round(plan.topology.components[node.component].timeout.seconds)
    return {
        "test": ["CMD", *map(_plain, argv)],
        "interval": "2s",
        "timeout": "5s",
        "retries": 3,
        "start_period": f"{seconds}s",
    }


def _needs(plan: Plan, component: str) -> dict[str, Any]:
    needs: dict[str, Any] = {}
    for need in plan.order[component]:
        needs |= _healthy(plan, need)
        if parts.setup(plan, need):
            needs[_setup_name(need)] = {"condition": "service_completed_successfully"}
    return needs


def _healthy(plan: Plan, component: str) -> dict[str, Any]:
    return {
        node.name: {"condition": "service_healthy" if parts.probe(plan, node) else "service_started"}
        for node in plan.nodes_of(component)
    }


def _setup_name(component: str) -> str:
    return f"{component}-setup"


def _setup(plan: Plan, component: str, tags: Mapping[Image, str]) -> dict[str, Any]:
    first = plan.nodes_of(component)[0]
    program, *arguments = parts.setup(plan, component)
    return {
        **_image(first, tags),
        "entrypoint": [program],
        "command": [_plain(word) for word in arguments],
        "environment": {name: _plain(value) for name, value in first.environment.items()},
        "networks": [NETWORK],
        "depends_on": _healthy(plan, component),
        "restart": "no",
    }


def _plain(text: str) -> str:
    """A dollar sign is Compose's own unless it is doubled."""
    return text.replace("$", "$$")
