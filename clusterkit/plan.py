"""L4, pure. Topology + components + allocation -> nodes in order, with zones, addresses, images, files and start order.

Same topology and allocation, same plan. Nothing here asks the machine: what was chosen once (subnet, addresses, host
ports, secrets) comes in as an Allocation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from clusterkit.components.base import Component, Group, Member, Template
from clusterkit.components.registry import Registry
from clusterkit.errors import EnvironmentTrouble, UsageError
from clusterkit.model.image import BuildImage, Image, Install, Pull
from clusterkit.model.topology import ComponentSpec, Mount, Topology

if TYPE_CHECKING:
    from jinja2 import Template as JinjaTemplate
    from jinja2.sandbox import ImmutableSandboxedEnvironment


@dataclass(frozen=True)
class Allocation:
    """What was chosen once for a cluster. `host_ports` and `addresses` by node; `secrets` by component.

    `founders`: component -> the members that were there before others came; none: all begin together.
    """

    subnet: str
    addresses: Mapping[str, str] = field(default_factory=dict)
    host_ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    founders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class NodePlan:
    """One node, before its templates are rendered. `command` None: the image's own.

    `data` is where its data lies, "" for none; `data_kind` "loop": on a disk of its own, of `data_bytes`.
    """

    member: Member
    component: str
    kind: str
    image: Image
    command: tuple[str, ...] | None
    environment: Mapping[str, str]
    user: str
    files: Mapping[str, Template]
    seeds: Mapping[str, Template]
    data: str
    data_kind: str
    mounts: tuple[Mount, ...]
    hosts: Mapping[str, str]
    cpus: float | None
    memory_bytes: int | None
    stop_signal: str
    working_dir: str
    data_bytes: int = 0

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def has_disk(self) -> bool:
        """Whether its data lies on a disk of its own."""
        return bool(self.data) and self.data_kind == "loop"


@dataclass(frozen=True)
class Plan:
    """A whole cluster, in the order of the file; `order`: component -> what must be ready before it starts."""

    name: str
    topology: Topology
    subnet: str
    nodes: tuple[NodePlan, ...]
    groups: Mapping[str, Group]
    components: Mapping[str, Component]
    order: Mapping[str, tuple[str, ...]]

    def nodes_of(self, component: str) -> tuple[NodePlan, ...]:
        return tuple(node for node in self.nodes if node.component == component)

    def node(self, name: str) -> NodePlan:
        return next(node for node in self.nodes if node.name == name)


def allocate(
    topology: Topology,
    registry: Registry,
    subnet: str,
    known: Allocation,
    free_ports: Iterator[int],
    new_secret: Callable[[], str],
) -> Allocation:
    """Completes what is `known`: a node that has an address, a port or a secret keeps it.

    `free_ports` yields host ports that nobody uses. The first ten addresses of the subnet stay free for the gateway
    and for helpers. Raises: EnvironmentTrouble when the subnet is full.
    """
    addresses = dict(known.addresses)
    wanted = [name for spec in topology.components.values() for name in spec.node_names]
    taken = set(addresses.values())
    hosts = iter(list(ipaddress.ip_network(subnet).hosts())[10:])
    for name in wanted:
        if name not in addresses:
            address = next((str(host) for host in hosts if str(host) not in taken), None)
            if address is None:
                raise EnvironmentTrouble(f"the cluster's network {subnet} has no address left for {name}")
            addresses[name] = address
    host_ports: dict[str, dict[str, int]] = {name: dict(ports) for name, ports in known.host_ports.items()}
    secrets: dict[str, dict[str, str]] = {name: dict(values) for name, values in known.secrets.items()}
    for spec in topology.components.values():
        component = registry[spec.kind]
        for index, name in enumerate(spec.node_names):
            ports = host_ports.setdefault(name, {})
            for port, described in component.ports_for(spec.options).items():
                if port in spec.publish:
                    ports[port] = spec.publish[port] + index
                elif described.publish and port not in ports:
                    ports[port] = next(free_ports)
        for secret in component.secrets:
            secrets.setdefault(spec.name, {}).setdefault(secret, new_secret())
    return Allocation(
        subnet=subnet,
        addresses={name: addresses[name] for name in wanted},
        host_ports={name: host_ports.get(name, {}) for name in wanted},
        secrets={spec.name: secrets.get(spec.name, {}) for spec in topology.components.values()},
        founders=known.founders,
    )


def plan(topology: Topology, registry: Registry, allocation: Allocation) -> Plan:
    """The whole cluster, decided. Raises: UsageError where a `{{ }}` of the user's cannot be filled in."""
    components = {name: registry[spec.kind] for name, spec in topology.components.items()}
    order = {
        name: tuple(dict.fromkeys((*spec.depends_on, *components[name].depends_on(spec.options))))
        for name, spec in topology.components.items()
    }
    groups: dict[str, Group] = {}
    for name in TopologicalSorter(order).static_order():
        spec = topology.components[name]
        groups[name] = Group(
            cluster=topology.name,
            name=name,
            kind=spec.kind,
            options=spec.options,
            members=tuple(_members(spec, components[name], allocation)),
            secrets=allocation.secrets.get(name, {}),
            needs={need: groups[need] for need in order[name]},
            founders=allocation.founders.get(name, ()),
        )
    references = {name: exports(group, components[name]) for name, group in groups.items()}
    nodes = [
        _node(topology, spec, components[name], groups[name], member, references)
        for name, spec in topology.components.items()
        for member in groups[name].members
    ]
    return Plan(
        name=topology.name,
        topology=topology,
        subnet=allocation.subnet,
        nodes=tuple(nodes),
        groups={name: groups[name] for name in topology.components},
        components=components,
        order=order,
    )


def exports(group: Group, component: Component) -> Mapping[str, Any]:
    """What `{{ components.NAME.KEY }}` gives. Lists are joined by commas; `port` is the component's first."""
    port = next(iter(group.first.ports), None)
    common: dict[str, Any] = {
        "name": group.name,
        "nodes": ",".join(member.name for member in group.members),
        "addresses": ",".join(member.address for member in group.members),
        "members": [{"name": m.name, "address": m.address, "zone": m.zone} for m in group.members],
    }
    if port is not None:
        common |= {"port": str(group.first.ports[port]), "endpoints": group.at(port)}
    return common | {key: give(group) for key, give in component.exports.items()}


@cache
def expressions() -> ImmutableSandboxedEnvironment:
    """The environment in which a user's `{{ }}` are read; unknown names are errors."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


@cache
def _compiled(text: str) -> JinjaTemplate:
    """Once for all nodes: compiling takes far longer than filling in."""
    return expressions().from_string(text)


def _members(spec: ComponentSpec, component: Component, allocation: Allocation) -> Iterator[Member]:
    ports = {name: port.number for name, port in component.ports_for(spec.options).items()}
    for index, name in enumerate(spec.node_names):
        yield Member(
            name=name,
            index=index + 1,
            zone=spec.zones[index % len(spec.zones)],
            address=allocation.addresses[name],
            ports=ports,
            host_ports=allocation.host_ports.get(name, {}),
        )


def _node(
    topology: Topology,
    spec: ComponentSpec,
    component: Component,
    group: Group,
    member: Member,
    references: Mapping[str, Any],
) -> NodePlan:
    names = {"components": references, "node": member, "component": group, "cluster": topology.name}

    def filled(text: str, *key: str) -> str:
        if "{" not in text:
            return text
        try:
            return _compiled(text).render(names)
        except Exception as error:  # an expression may fail in any way: -"text", 1/0, a name that is not there
            raise UsageError(
                f"{text!r} cannot be filled in: {error}",
                where=topology.where("components", spec.name, *key),
                mend="look at the names and operators between {{ and }}",
            ) from error

    command = component.command(group, member) if callable(component.command) else component.command
    return NodePlan(
        member=member,
        component=spec.name,
        kind=spec.kind,
        image=_image(spec, component),
        command=tuple(filled(part, "command") for part in command) or None,
        environment={
            key: filled(value, "environment", key)
            for key, value in {**component.environment, **spec.environment}.items()
        },
        user=_user(component, spec),
        files=component.files,
        seeds=component.seeds,
        data=component.data,
        data_kind=spec.data,
        mounts=spec.mounts,
        hosts={other.name: other.address for other in group.members if component.hosts and other is not member},
        cpus=spec.cpus,
        memory_bytes=spec.memory.bytes if spec.memory else None,
        stop_signal=component.stop_signal,
        working_dir=component.working_dir(spec.options),
        data_bytes=spec.data_size.bytes,
    )


def _user(component: Component, spec: ComponentSpec) -> str:
    """Root in an image that the user named: it need not have the user that the role makes."""
    if callable(component.user):
        return component.user(spec.options)
    return component.user if spec.image is None or not component.user else "0"


def _image(spec: ComponentSpec, component: Component) -> Image:
    build = component.build(spec.options)
    if build is not None:
        return BuildImage(spec.name, build)
    if spec.image is not None:
        return Pull(spec.image)
    return Install(component.kind, component.packages(spec.options))
