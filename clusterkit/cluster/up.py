"""L10. `up`: makes a cluster what its topology says, and changes only what differs."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from clusterkit import locks
from clusterkit.clock import Deadline
from clusterkit.cluster import disks
from clusterkit.cluster.changes import Change, differences
from clusterkit.cluster.down import take_down
from clusterkit.cluster.site import Site, count
from clusterkit.cluster.work import Work
from clusterkit.components.base import Running
from clusterkit.components.registry import Registry
from clusterkit.errors import ClusterkitError, NameTaken, NotReady, UsageError
from clusterkit.health import ready, view
from clusterkit.model.image import Image
from clusterkit.model.topology import Topology
from clusterkit.node import State
from clusterkit.plan import Allocation, Plan, allocate, plan
from clusterkit.providers.base import ClusterRecord, NodeRecord, Rendered
from clusterkit.providers.docker_agent import DockerAgent
from clusterkit.provision.images import BuiltImage, Images
from clusterkit.render import tree
from clusterkit.render.tree import SECRETS

_ANSWERS_WITHIN = 5.0
"""Seconds that a system may take to say whom it counts, when some of its nodes have never run."""

_NO_SUBNET = "192.0.2.0/24"
"""Stands in where there is no network yet. Source: RFC 5737, addresses for documentation."""


@dataclass(frozen=True)
class Outcome:
    """What an `up` did to the nodes it looked at, and how many of the topology's links it changed.

    No changes: all was already as the topology says.
    """

    nodes: int
    changes: tuple[Change, ...]
    links: int = 0


@dataclass(frozen=True)
class Wish:
    """What of a topology an `up` is for.

    `components`: only those, and what they depend on. `nodes`: only those of them, and no node is removed. `scale`:
    counts of nodes that were given by hand, and differ from those of the file; they are remembered. `rebuild`: images
    of the user's own are built although nothing of them has changed.
    """

    components: Collection[str] = ()
    nodes: Collection[str] = ()
    scale: Mapping[str, int] = field(default_factory=dict)
    rebuild: bool = False

    @property
    def is_whole(self) -> bool:
        return not self.components and not self.nodes


@dataclass(frozen=True)
class Comparison:
    """What is wanted beside what is there.

    `files`: node -> path -> (what it has, what it is to have), where they differ; passwords that clusterkit made are
    stars in them.
    """

    changes: tuple[Change, ...]
    files: Mapping[str, Mapping[str, tuple[str, str]]]


@dataclass(frozen=True)
class _Found:
    """An `up` that has looked, and has not begun."""

    wanted: Plan
    record: ClusterRecord | None
    rendered: Mapping[str, Rendered]
    disks: dict[str, str]
    changes: tuple[Change, ...]


def up(
    site: Site,
    topology: Topology,
    registry: Registry,
    wish: Wish = Wish(),
    *,
    wait_timeout: float | None = None,
    retain: bool = False,
    lock_timeout: float = 0.0,
) -> Outcome:
    """Makes the cluster what the topology says, and waits until it is healthy.

    `wait_timeout` in seconds, in place of each `timeout:`; `lock_timeout`: how long another clusterkit that is at work
    on the cluster is waited for. A first `up` that fails is undone, unless `retain`.
    Raises: NameTaken, Locked, NotReady, InstallFailed, ...
    """
    with locks.held(site.provider.engine, topology.name, wait=lock_timeout):
        record = site.provider.find(topology.name)
        check_owner(topology, record)
        if record is None:
            _warn_of_old_name(site, topology)
        try:
            outcome = _converge(site, topology, registry, record, wish, wait_timeout)
        except BaseException as error:
            if isinstance(error, NotReady):
                _name_faults(site, topology.name, error)
            if not retain and (record is None or not record.nodes):
                _undo(site, topology.name, error, keep_data=record is not None)
            raise
        site.trim_archive()
        return outcome


def compare(site: Site, topology: Topology, registry: Registry, wish: Wish = Wish()) -> Comparison:
    """What an `up` would do. Makes nothing, not even an image. Raises: NameTaken, UsageError."""
    record = site.provider.find(topology.name)
    check_owner(topology, record)
    subnet = (record.subnet if record else "") or _NO_SUBNET
    wanted = _planned(site, topology, registry, record, subnet, keep=False)
    _refuse_other_data(wanted, record)
    built = _images(site, wanted).known({node.image for node in wanted.nodes})
    found = _look(site, wanted, record, built, wish, is_for_real=False)
    secret = sorted({text for group in wanted.groups.values() for text in group.secrets.values()})
    return Comparison(found.changes, _differing_files(site, found, secret))


def _name_faults(site: Site, cluster: str, error: NotReady) -> None:
    """Says what is broken on purpose: it may be why nodes are not healthy."""
    agent = DockerAgent(site.provider.client)
    if not agent.exists():
        return
    from clusterkit.chaos.scene import open_agent
    from clusterkit.chaos.strike import LINKS

    with open_agent(site.provider, site.journal) as conversation:
        broken = [mark for mark in conversation.marks(cluster) if mark.owner != LINKS]
    if broken:
        words = "; ".join(f"{mark.id}: {mark.words}" for mark in broken)
        error.add_note(f"  broken on purpose now: {words} (clusterkit chaos heal puts it back)")


def _converge(
    site: Site,
    topology: Topology,
    registry: Registry,
    record: ClusterRecord | None,
    wish: Wish,
    wait_timeout: float | None,
) -> Outcome:
    provider, journal = site.provider, site.journal
    subnet = record.subnet if record else ""
    wanted = _planned(site, topology, registry, record, subnet or _NO_SUBNET, keep=True)
    _refuse_other_data(wanted, record)
    chosen = {node.image for node in wanted.nodes if _is_chosen(node.name, node.component, wanted, wish)}
    built = _images(site, wanted).ensure(chosen, rebuild=wish.rebuild)
    if not subnet:
        with journal.step("create the network"):
            subnet = provider.create_network(topology.name, str(topology.file), record.kept_subnet if record else "")
        wanted = _planned(site, topology, registry, record, subnet, keep=True)
    found = _look(site, wanted, record, built, wish, is_for_real=True)
    if record is not None and record.nodes:
        for change in found.changes:
            journal.say(f"{change.node}: {change.action}" + (f", {change.why}" if change.why else ""), node=change.node)
    live = {node.name: node for node in found.record.nodes} if found.record else {}
    by_node = {change.node: change for change in found.changes}
    if wish.is_whole and (record.scale if record else {}) != wish.scale:
        provider.keep_scale(topology.name, str(topology.file), wish.scale)
    # Kept by a `down`, and now of nobody.
    strangers = set(record.devices) - {node.name for node in wanted.nodes} - set(live) if record else set()
    strange = {name.rpartition("-")[0] for name in strangers} if wish.is_whole else set()
    Work(site, wanted, found.rendered, found.disks, by_node, live, wait_timeout, strange).do()
    for name in strangers if wish.is_whole else ():
        provider.remove_data(topology.name, name)
    return Outcome(len(found.rendered), found.changes, _settle_links(site, topology))


def _images(site: Site, wanted: Plan) -> Images:
    homes = {component.home for component in wanted.components.values()} - {""}
    return Images(site.provider.client, site.journal, roles=[Path(home) / "roles" for home in sorted(homes)])


def _is_chosen(node: str, component: str, wanted: Plan, wish: Wish) -> bool:
    return component in _with_needs(wish.components, wanted.order) and (not wish.nodes or node in wish.nodes)


def _look(
    site: Site,
    wanted: Plan,
    record: ClusterRecord | None,
    built: Mapping[Image, BuiltImage],
    wish: Wish,
    *,
    is_for_real: bool,
) -> _Found:
    """`is_for_real`: disks are made and attached; else it is taken that those of nodes that run are as they were."""
    rendered = {
        node.name: _rendered(wanted, node.name, built[node.image])
        for node in wanted.nodes
        if _is_chosen(node.name, node.component, wanted, wish)
    }
    attached = _attached(site, wanted.name, rendered, is_new=record is None) if is_for_real else {}
    record = _as_it_is_now(site, record, rendered)
    joining = [
        node.name
        for node in wanted.nodes
        if wanted.components[node.component].membership is not None and wanted.groups[node.component].joins(node.member)
    ]
    changes = differences(record, rendered, attached, joining, orphans=wish.is_whole)
    refuse_new_members(wanted, record, rendered)
    return _Found(wanted, record, rendered, attached, changes)


def _as_it_is_now(site: Site, record: ClusterRecord | None, rendered: Mapping[str, Rendered]) -> ClusterRecord | None:
    """The record with the parts of nodes that were changed since they were made. Only those that differ are asked."""
    if record is None:
        return None
    nodes = [
        replace(node, parts=site.provider.parts_of(node))
        if node.name in rendered and node.state is not State.CREATED and node.parts != rendered[node.name].parts
        else node
        for node in record.nodes
    ]
    return replace(record, nodes=tuple(nodes))


def _differing_files(site: Site, found: _Found, secret: Sequence[str]) -> Mapping[str, Mapping[str, tuple[str, str]]]:
    def masked(text: str) -> str:
        for one in secret:
            text = text.replace(one, "***")
        return text

    differing: dict[str, dict[str, tuple[str, str]]] = {}
    changed = {change.node for change in found.changes if change.action in ("recreate", "restart", "change", "start")}
    for node in found.record.nodes if found.record else ():
        if node.name not in changed:
            continue
        live = site.provider.node(node)
        for file in found.rendered[node.name].files:
            now, wanted = masked(_text(live.read, file.path)), masked(file.content.decode(errors="replace"))
            if now != wanted and file.path != SECRETS:
                differing.setdefault(node.name, {})[file.path] = (now, wanted)
    return differing


def _text(read: Callable[[str], bytes], path: str) -> str:
    try:
        return read(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _settle_links(site: Site, topology: Topology) -> int:
    """Makes the impairments in force those of `links:`, when all is healthy: gives how many were changed.

    They are by address, so that a restart or a recreated node changes nothing. Where there are none, and no agent that
    might have some, nobody is asked.
    """
    agent = DockerAgent(site.provider.client)
    if not topology.links and not agent.exists():
        return 0
    from clusterkit.chaos.links import settle
    from clusterkit.chaos.scene import open_agent

    record = site.provider.find(topology.name)
    assert record is not None  # it has just become healthy
    with open_agent(site.provider, site.journal) as conversation:
        made, undone = settle(conversation, record, topology.links)
        for mark in conversation.marks(topology.name):
            if mark.is_overdue:  # its nodes run again: that was what it waited for
                conversation.heal(mark.id)
    for mark in undone:
        site.journal.say(f"no longer in force: {mark.words}")
    for mark in made:
        site.journal.say(f"in force: {mark.words}")
    return len(made) + len(undone)


def planned(site: Site, topology: Topology, registry: Registry, record: ClusterRecord) -> Plan:
    """The plan of a cluster that is there, with the addresses, ports, secrets and counts of nodes that it has."""
    components = {
        name: replace(spec, replicas=record.scale.get(name, spec.replicas))
        for name, spec in topology.components.items()
    }
    topology = replace(topology, components=components)
    return plan(topology, registry, _allocation(site, topology, registry, record, record.subnet or _NO_SUBNET))


def _planned(
    site: Site, topology: Topology, registry: Registry, record: ClusterRecord | None, subnet: str, *, keep: bool
) -> Plan:
    """The plan of what is wanted, in which those that are there already have their place."""
    allocation = _allocation(site, topology, registry, record, subnet, keep=keep)
    wanted = plan(topology, registry, allocation)
    founders = _founders(site, wanted, record)
    return plan(topology, registry, replace(allocation, founders=founders)) if founders else wanted


def _founders(site: Site, wanted: Plan, record: ClusterRecord | None) -> Mapping[str, tuple[str, ...]]:
    """component -> its members that were there before those that are to join, where some are.

    A node that was made and has never run may be one of the first, whose `up` was killed, or one that was to join. A
    system that answers is whole without it, so that it joins; one that does not was never whole.
    """
    founders: dict[str, tuple[str, ...]] = {}
    for name, component in wanted.components.items():
        if component.membership is None or record is None:
            continue
        members = [member.name for member in wanted.groups[name].members]
        nodes = {node.name: node.state for node in record.nodes if node.component == name}
        kept = [member for member in members if member in record.devices]
        there = [member for member in members if nodes.get(member, State.CREATED) is not State.CREATED]
        if not nodes:
            there = kept
        half_made = [member for member in members if nodes.get(member) is State.CREATED]
        if there and half_made and not _is_whole(site, wanted, record, name):
            there = [member for member in members if member in there or member in half_made]
        if there and len(there) < len(members):
            founders[name] = tuple(there)
    return founders


def _is_whole(site: Site, wanted: Plan, record: ClusterRecord, component: str) -> bool:
    """Whether the system can say whom it counts; one that keeps no list needs no founders."""
    membership = wanted.components[component].membership
    if membership is None or membership.counts is None:
        return False

    def look() -> Running:
        return view.running(wanted, site.provider, record, component)

    try:
        ready.repeat(membership.counts, look, Deadline(_ANSWERS_WITHIN), "does not say whom it counts")
    except NotReady:
        return False
    return True


def _warn_of_old_name(site: Site, topology: Topology) -> None:
    """Who renames a cluster that is up makes a second one, and should know it."""
    for other in site.provider.clusters():
        if other.source == str(topology.file):
            site.journal.say(
                f'"{other.name}" was made from this file too and is still there: clusterkit down --name {other.name}',
                level="warning",
            )


def check_owner(topology: Topology, record: ClusterRecord | None) -> None:
    """Raises: NameTaken when the cluster of this name was made from another file."""
    if record is None or not record.source or record.source == str(topology.file):
        return
    raise NameTaken(
        f'a cluster "{topology.name}" is there already, made from {record.source}',
        where=topology.where("name"),
        mend=f"set another `name:` in this file, or take that one down: clusterkit down -f {record.source}",
    )


def _allocation(
    site: Site, topology: Topology, registry: Registry, record: ClusterRecord | None, subnet: str, *, keep: bool = False
) -> Allocation:
    """What is known, completed. `keep` writes new secrets down, before any node has them; looking never does.

    Addresses of another subnet are not kept: where the network was lost, every node is made anew in the next one.
    """
    nodes = record.nodes if record else ()
    addresses = {**(record.kept_addresses if record else {}), **{node.name: node.address for node in nodes}}
    network = ip_network(subnet)
    known = Allocation(
        subnet=subnet,
        addresses={name: address for name, address in addresses.items() if address and ip_address(address) in network},
        host_ports={node.name: dict(node.host_ports) for node in nodes},
        secrets=_secrets(site, nodes),
    )
    made = allocate(topology, registry, subnet, known, site.provider.free_ports(topology.name), _new_secret)
    for component, values in made.secrets.items():
        if keep and values and values != known.secrets.get(component):
            _keep_secrets(site, component, values)
    return made


def _new_secret() -> str:
    """144 bits; letters and digits only, since it stands in configuration files and URLs of every kind."""
    return secrets.token_hex(18)


def _secrets(site: Site, nodes: Sequence[NodeRecord]) -> dict[str, dict[str, str]]:
    """From the folder beside the topology; where that is gone, from a node of each component."""
    found: dict[str, dict[str, str]] = {}
    folder = site.state / "secrets"
    if folder.is_dir():
        found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    for node in nodes:
        if node.component not in found:
            try:
                kept = json.loads(site.provider.node(node).read(SECRETS))
            except FileNotFoundError:
                kept = {}
            found[node.component] = kept.get(node.component, {})
    return found


def _keep_secrets(site: Site, component: str, values: Mapping[str, str]) -> None:
    """Written whole or not at all, readable by the user alone."""
    folder = site.state / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{component}.json"
    handle, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w") as file:
        json.dump(dict(values), file)
    Path(temporary).replace(path)


def _rendered(wanted: Plan, name: str, image: BuiltImage) -> Rendered:
    node = wanted.node(name)
    files = tree.files(wanted, node)
    return Rendered(
        plan=node,
        files=files,
        seeds=tree.seeds(wanted, node),
        image=image.tag,
        parts=tree.parts(node, files, image.tag, image.identity),
        users=image.users,
    )


def refuse_new_members(wanted: Plan, record: ClusterRecord | None, rendered: Mapping[str, Rendered]) -> None:
    """A vote among three does not become a vote among five by editing files, where nobody knows how to tell it.

    Whether its nodes run does not matter: two of five that begin without data could outvote what one of three has. An
    `up` that was killed is completed: its nodes have the list of all already. Raises: UsageError.
    """
    for name, component in wanted.components.items():
        is_meant = any(node.plan.component == name for node in rendered.values())
        if component.membership is not None or not component.needs_quorum or record is None or not is_meant:
            continue
        nodes = [node for node in record.nodes if node.component == name]
        after = {node.name for node in wanted.nodes_of(name)}
        kept = {node for node in record.devices if node.rpartition("-")[0] == name}
        before = {node.name for node in nodes} or kept
        told = [node.name in rendered and node.parts != rendered[node.name].parts for node in nodes if _has_run(node)]
        if before and before != after and (any(told) or before - after or not nodes):
            raise UsageError(
                f'component "{name}" has {len(before)} members and cannot become {len(after)}: each knows all others',
                where=wanted.topology.where("components", name, "replicas"),
                mend="take the cluster down first (its data is lost), or keep the number of replicas",
            )


def _has_run(node: NodeRecord) -> bool:
    return node.state is not State.CREATED


def _refuse_other_data(wanted: Plan, record: ClusterRecord | None) -> None:
    """Data does not move from a volume to a disk, or back."""
    for node in wanted.nodes:
        device = record.devices.get(node.name) if record else None
        if device is not None and bool(device) != node.has_disk:
            raise UsageError(
                f"the data of {node.name} lies on a {'disk of its own' if device else 'volume'}, and cannot move",
                where=wanted.topology.where("components", node.component, "data"),
                mend="take the cluster down first (its data is lost), or keep `data:` as it was",
            )


def _with_needs(only: Collection[str], order: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The components named and all that they need; all components when none is named."""
    unknown = [name for name in only if name not in order]
    if unknown:
        raise UsageError(f'no component is called "{unknown[0]}"', mend=f"the topology has {', '.join(order)}")
    chosen: set[str] = set()
    wanted = list(only or order)
    while wanted:
        name = wanted.pop()
        if name not in chosen:
            chosen.add(name)
            wanted += order[name]
    return chosen


def _attached(site: Site, cluster: str, rendered: Mapping[str, Rendered], *, is_new: bool) -> dict[str, str]:
    """node -> the device of its disk, where a component asks for one.

    `is_new`: there is no such cluster yet, so that disks of its name are an older one's.
    """
    sizes = {name: node.plan.data_bytes for name, node in rendered.items() if node.plan.has_disk}
    if not sizes:
        return {}
    with site.journal.step(f"attach {count(len(sizes), 'disk')}"):
        return disks.make(site, cluster, sizes, anew=is_new)


def _undo(site: Site, cluster: str, error: BaseException, *, keep_data: bool) -> None:
    """A first `up` that failed leaves what was there before; trouble in the clean-up never hides the first error."""
    try:
        with site.journal.step("undo what was made"):
            take_down(site, cluster, keep_data=keep_data)
    except ClusterkitError as trouble:
        error.add_note(f"the clean-up failed too: {trouble.what}; `clusterkit down` finishes it")
