"""L13. The keys that a topology knows, and what each is for: one place for checks, help and the JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping

TOP: Mapping[str, str] = {
    "name": "The cluster's name; the folder's name if not given.",
    "zones": "The zones that replicas are spread over; a, b and c if not given.",
    "provider": "What makes the nodes: docker.",
    "defaults": "Common keys for every component that does not say otherwise.",
    "components": "The components by name; each becomes three nodes, NAME-1 to NAME-3.",
    "logging": "How much of the logs is kept, and where lines are sent.",
    "chaos": "Scenarios that break the cluster on purpose.",
    "links": "Latency, loss and bandwidth between zones, as long as the cluster is up.",
    "plugins": "Modules or Python files that bring further kinds.",
}

LOGGING: Mapping[str, str] = {
    "limit": "The most that the archived logs may take: 1GB; the oldest go first. No limit if not given.",
    "ship": "Where lines are to be sent. Read, but not acted on yet.",
}

COMMON: Mapping[str, str] = {
    "kind": "What it is; the component's own name if that is a kind.",
    "replicas": "How many nodes; 3 if not given.",
    "zones": "The zones its replicas are spread over, in turn; all zones if not given.",
    "image": "A container image to start from; nothing is installed then.",
    "environment": "Environment variables, as a mapping or a list of NAME=VALUE. {{ }} is filled in.",
    "env_file": "One or more files of NAME=VALUE lines; `environment` wins over them.",
    "mounts": "Folders and files of this machine to see inside: source:target, with :ro at the end to protect them.",
    "publish": "Port name -> port on this machine for the first replica; the next ones follow.",
    "depends_on": "Components that are healthy before this one starts.",
    "cpus": "The most processor time a node may take, in processors: 0.5.",
    "memory": "The most memory a node may take: 256MB.",
    "data": "Where a node's data lies: on a volume, or on a disk of its own (loop), which faults can break.",
    "data_size": "How large that disk is, with data: loop; 256MB if not given.",
    "timeout": "How long it may take until all nodes are healthy: 120s if not given.",
}

SYNONYMS: Mapping[str, str] = {
    "services": "components", "nodes": "components", "project": "name", "logs": "logging", "faults": "chaos",
    "volumes": "mounts", "binds": "mounts", "env": "environment", "scale": "replicas", "count": "replicas",
    "instances": "replicas", "type": "kind", "mem_limit": "memory", "mem": "memory", "ram": "memory", "cpu": "cpus",
    "requires": "depends_on", "needs": "depends_on", "expose": "publish", "networks": "links", "host_ports": "publish",
}  # fmt: skip
"""Words of other tools -> ours."""
