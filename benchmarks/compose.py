"""The same cluster for docker-compose: the same images, commands, files, volumes, addresses and ports.

It is made from what the engine says of a running cluster, and carries the same labels: so the same health code judges
both. Files that are rewritten in the data folder are copied there by the command, as the volume is new each time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from clusterkit.plan import NodePlan, Plan
from clusterkit.providers.base import ClusterRecord
from clusterkit.providers.docker import DockerProvider, container_name, network_name, volume_name
from clusterkit.render import tree

SEEDS = "/seeds"


def program() -> list[str]:
    """`docker-compose` where it is there, else the plugin, else nothing."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else []


def version(argv: list[str]) -> str:
    return subprocess.run([*argv, "version", "--short"], capture_output=True, text=True, check=True).stdout.strip()


def write(folder: Path, plan: Plan, provider: DockerProvider, record: ClusterRecord) -> Path:
    """Writes docker-compose.yml (JSON is YAML) and the files it binds; gives back its path."""
    services = {}
    for node in plan.nodes:
        found = next(listed for listed in record.nodes if listed.name == node.name)
        inspected = provider.client.inspect_container(found.runtime_id)
        services[node.name] = _service(folder, plan, node, inspected)
    network = provider.client.inspect_network(network_name(plan.name))
    content = {
        "version": "2.4",
        "services": services,
        "networks": {
            "default": {
                "name": network_name(plan.name),
                "labels": _ours(network),
                "ipam": {"config": [{"subnet": plan.subnet}]},
            }
        },
        "volumes": {
            f"{node.name}-data": {"name": volume, "labels": _ours(provider.client.inspect_volume(volume))}
            for node in plan.nodes
            for volume in [volume_name(plan.name, node.name)]
            if node.data
        },
    }
    path = folder / "docker-compose.yml"
    path.write_text(json.dumps(_escaped(content), indent=2))
    return path


def _service(folder: Path, plan: Plan, node: NodePlan, inspected: dict[str, Any]) -> dict[str, Any]:
    config, host = inspected["Config"], inspected["HostConfig"]
    command = list(config["Cmd"])
    binds = []
    for file in tree.files(plan, node):
        binds.append(f"{_kept(folder, node.name, file.path, file.content)}:{file.path}:ro")
    seeds = tree.seeds(plan, node)
    for seed in seeds:
        binds.append(f"{_kept(folder, node.name, seed.path, seed.content)}:{SEEDS}{seed.path}:ro")
    if seeds:
        copies = " && ".join(f"cp {SEEDS}{seed.path} {seed.path}" for seed in seeds)
        command = ["sh", "-c", f'{copies} && exec "$@"', "sh", *command]
    if node.data:
        binds.append(f"{node.name}-data:{node.data}")
    return {
        "image": config["Image"],
        "container_name": container_name(plan.name, node.name),
        "hostname": config["Hostname"],
        "command": command,
        "entrypoint": [],
        "environment": config["Env"],
        "user": config["User"],
        "labels": _ours(config),
        "init": host["Init"],
        "extra_hosts": host["ExtraHosts"] or [],
        "volumes": binds,
        "ports": [
            f"127.0.0.1:{bound[0]['HostPort']}:{port.partition('/')[0]}"
            for port, bound in (host["PortBindings"] or {}).items()
        ],
        "networks": {"default": {"ipv4_address": node.member.address}},
    }


def _ours(labelled: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in labelled["Labels"].items() if key.startswith("clusterkit.")}


def _kept(folder: Path, node: str, path: str, content: bytes) -> Path:
    """Readable by every user: the system in the container is not ours."""
    kept = folder / "files" / node / path.lstrip("/")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    kept.chmod(0o644)
    return kept


def _escaped(value: Any) -> Any:
    """Compose reads $ as a variable; $$ is a dollar."""
    if isinstance(value, dict):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
