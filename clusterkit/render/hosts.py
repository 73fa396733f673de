"""L4, pure. Plan -> what makes it of hosts: Ansible's inventory, and the machines that the Vagrantfile reads."""

from __future__ import annotations

import math
from typing import Any

from clusterkit.node import File
from clusterkit.plan import NodePlan, Plan
from clusterkit.render import parts, tree
from clusterkit.render.parts import Unsafe

BOX = "debian/bookworm64"
_LEAST_MEMORY_MB = 512


def inventory(plan: Plan) -> dict[str, Any]:
    """Groups: a component by its name, `kind_KIND` and `zone_ZONE`; in each a hyphen is an underscore."""
    nodes = [node for node in plan.nodes if parts.is_on_hosts(node)]
    members: dict[str, dict[str, Any]] = {}
    for node in nodes:
        for group in groups(node):
            members.setdefault(group, {})[node.name] = {}
    return {
        "all": {
            "vars": {"clusterkit_cluster": plan.name, "ansible_python_interpreter": "/usr/bin/python3"},
            "hosts": {node.name: _unsafe(_variables(plan, node)) | _paths(node) for node in nodes},
            "children": {name: {"hosts": hosts} for name, hosts in sorted(members.items())},
        }
    }


def machines(plan: Plan) -> dict[str, Any]:
    """What the Vagrantfile reads. `memory` in MB."""
    return {
        "machines": [
            {
                "name": node.name,
                "address": node.member.address,
                "box": BOX,
                "groups": list(groups(node)),
                "memory": max(_LEAST_MEMORY_MB, math.ceil((node.memory_bytes or 0) / 2**20)),
                "cpus": math.ceil(node.cpus or 1),
            }
            for node in plan.nodes
            if parts.is_on_hosts(node)
        ]
    }


def groups(node: NodePlan) -> tuple[str, ...]:
    """Ansible takes letters, digits and underscores; no component has an underscore, so that no two of them clash."""
    names = (node.component, f"kind_{node.kind}", f"zone_{node.member.zone}")
    return tuple(f"{name}_" if name == "ungrouped" else name.replace("-", "_") for name in names)


def stages(plan: Plan) -> dict[str, int]:
    """component -> when it is started: 1 for those that need none, else one more than the last that it needs."""
    found: dict[str, int] = {}

    def stage(component: str) -> int:
        if component not in found:
            found[component] = 1 + max((stage(need) for need in plan.order[component]), default=0)
        return found[component]

    for component in plan.order:
        stage(component)
    return found


def _variables(plan: Plan, node: NodePlan) -> dict[str, Any]:
    setup = parts.setup(plan, node.component) if node is plan.nodes_of(node.component)[0] else ()
    variables = {
        "ansible_host": node.member.address,
        "clusterkit_node": node.name,
        "clusterkit_component": node.component,
        "clusterkit_kind": node.kind,
        "clusterkit_zone": node.member.zone,
        "clusterkit_address": node.member.address,
        "clusterkit_stage": stages(plan)[node.component],
        "clusterkit_timeout": math.ceil(plan.topology.components[node.component].timeout.seconds),
        "clusterkit_packages": list(parts.packages(node)),
        "clusterkit_files": [_listed(file) for file in tree.files(plan, node)],
        "clusterkit_seeds": [_listed(file) for file in tree.seeds(plan, node)],
        "clusterkit_command": list(node.command or ()),
        "clusterkit_environment": dict(node.environment),
        "clusterkit_stop_signal": f"SIG{node.stop_signal}",
        "clusterkit_probe": list(parts.probe(plan, node)),
    }
    if setup:
        variables["clusterkit_setup"] = list(setup)
    if node.working_dir:
        variables["clusterkit_working_dir"] = node.working_dir
    if node.user:
        variables["common_user"] = node.user.partition(":")[0]
    return variables


def _paths(node: NodePlan) -> dict[str, Any]:
    """Templates of Ansible's own: the folder may be moved. A folder's slash means: what is in it."""
    here = "{{ inventory_dir }}"
    copies = [(parts.copy_of(node, mount), mount) for mount in node.mounts]
    return {
        "clusterkit_tree": f"{here}/nodes/{node.name}",
        "clusterkit_mounts": [
            {"source": f"{here}/{copy}{'/' if mount.source.is_dir() else ''}", "target": mount.target}
            for copy, mount in copies
            if copy
        ],
    }


def _listed(file: File) -> dict[str, str]:
    return {"path": file.path, "mode": f"{file.mode:04o}", "owner": file.owner or "root"}


def _unsafe(value: Any) -> Any:
    """The same, with text marked that Ansible would fill in."""
    if isinstance(value, dict):
        return {key: _unsafe(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unsafe(inner) for inner in value]
    if isinstance(value, str) and any(sign in value for sign in ("{{", "{%", "{#")):
        return Unsafe(value)
    return value
