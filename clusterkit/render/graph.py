"""L4, pure. A topology as a picture in words: Mermaid or DOT. Equal topologies give equal text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from clusterkit.model.topology import Topology

Roles = Mapping[str, str]
"""node name -> role, of those that have one."""


def mermaid(topology: Topology, order: Mapping[str, tuple[str, ...]], roles: Roles) -> str:
    """A flowchart. `order`: component -> those that it needs. Source: Mermaid's documentation, flowcharts."""
    lines = ["flowchart LR"]
    for name, spec in topology.components.items():
        lines.append(f'  subgraph {_id(name)}["{name} ({spec.kind})"]')
        lines += [f'    {_id(node)}["{_words(node, zone, roles)}"]' for node, zone in _nodes(topology, name)]
        lines.append("  end")
    lines += [f"  {_id(name)} --> {_id(need)}" for name, needs in order.items() for need in needs]
    for number, link in enumerate(topology.links, start=1):
        lines.append(f'  link{number}(["{_plain(str(link))}"])')
    return "\n".join([*lines, ""])


def dot(topology: Topology, order: Mapping[str, tuple[str, ...]], roles: Roles) -> str:
    """A directed graph with a cluster for each component. Source: Graphviz, the DOT language; `compound`."""
    lines = ["digraph cluster {", "  rankdir=LR; compound=true; node [shape=box];"]
    first = {name: spec.node_names[0] for name, spec in topology.components.items()}
    for name, spec in topology.components.items():
        lines.append(f"  subgraph {json.dumps(f'cluster_{name}')} {{")
        lines.append(f"    label={json.dumps(f'{name} ({spec.kind})')};")
        lines += [
            f"    {json.dumps(node)} [label={json.dumps(_words(node, zone, roles))}];"
            for node, zone in _nodes(topology, name)
        ]
        lines.append("  }")
    for name, needs in order.items():
        for need in needs:
            ends = f"ltail={json.dumps(f'cluster_{name}')}, lhead={json.dumps(f'cluster_{need}')}"
            lines.append(f"  {json.dumps(first[name])} -> {json.dumps(first[need])} [{ends}];")
    if topology.links:
        words = "\\l".join(_plain(str(link)) for link in topology.links)
        lines.append(f'  label="{words}\\l"; labeljust=l;')
    return "\n".join([*lines, "}", ""])


FORMATS: Mapping[str, Callable[[Topology, Mapping[str, tuple[str, ...]], Roles], str]] = {
    "mermaid": mermaid,
    "dot": dot,
}


def _nodes(topology: Topology, component: str) -> list[tuple[str, str]]:
    spec = topology.components[component]
    return [(name, spec.zones[index % len(spec.zones)]) for index, name in enumerate(spec.node_names)]


def _words(node: str, zone: str, roles: Roles) -> str:
    role = roles.get(node)
    return f"{node}, zone {zone}" + (f", {role}" if role else "")


def _id(name: str) -> str:
    """Mermaid reads some words as its own ("end", "api--"), so that none stands alone."""
    return "n_" + name.replace("-", "_")


def _plain(text: str) -> str:
    return text.replace('"', "'")
