"""L10. The whole life of a cluster as readable steps: `up` converges, `down` leaves nothing.

Truth is what the provider finds: every function here works after a crash of the one before. What a step started and a
failure interrupts is left for the next `up` or `down`, which ask the provider again.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Literal, TypeVar

from clusterkit import locks
from clusterkit.chaos.links import settle
from clusterkit.chaos.scene import open_agent
from clusterkit.chaos.strike import LINKS
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.components.base import Running
from clusterkit.components.registry import Registry
from clusterkit.errors import ClusterkitError, NameTaken, NotReady, UsageError
from clusterkit.health import ready, view
from clusterkit.journal import Journal
from clusterkit.logs.archive import archive
from clusterkit.model.topology import Topology
from clusterkit.node import State
from clusterkit.plan import Allocation, Plan, allocate, plan
from clusterkit.providers.base import ClusterRecord, LiveNode, NodeRecord, Rendered
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import DockerAgent
from clusterkit.provision.images import BuiltImage, Images
from clusterkit.render import tree
from clusterkit.render.tree import SECRETS

T = TypeVar("T")

WORKERS = 16
LAST_LINES = 8
_LONGEST_LINE = 200
_NO_SUBNET = "192.0.2.0/24"
"""Stands in where there is no network yet. Source: RFC 5737, addresses for documentation."""


@dataclass(frozen=True)
class Site:
    """What every step needs: the engine, who listens, and the folder beside the topology."""

    provider: DockerProvider
    journal: Journal
    state: Path


@dataclass(frozen=True)
class Change:
    """What `up` does to one node, and why."""

    node: str
    action: Literal["create", "recreate", "start", "unpause", "remove"]
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an `up` did to the nodes it looked at, and how many of the topology's links it changed.

    No changes: all was already as the topology says.
    """

    nodes: int
    changes: tuple[Change, ...]
    links: int = 0


@dataclass(frozen=True)
class Gone:
    """What a `down` took away."""

    nodes: int = 0
    networks: int = 0
    volumes: int = 0
    lines: int = 0

    @property
    def is_nothing(self) -> bool:
        return not (self.nodes or self.networks or self.volumes)


def up(
    site: Site,
    topology: Topology,
    registry: Registry,
    *,
    only: Collection[str] = (),
    wait_timeout: float | None = None,
    retain: bool = False,
) -> Outcome:
    """Makes the cluster what the topology says, and waits until it is healthy.

    `only` names components; what they depend on comes along. `wait_timeout` in seconds, in place of each `timeout:`.
    A first `up` that fails is undone, unless `retain`. Raises: NameTaken, Locked, NotReady, InstallFailed, ...
    """
    with locks.held(site.provider.engine, topology.name):
        record = site.provider.find(topology.name)
        check_owner(topology, record)
        if record is None:
            _warn_of_old_name(site, topology)
        try:
            return _converge(site, topology, registry, record, only, wait_timeout)
        except BaseException as error:
            if isinstance(error, NotReady):
                _name_faults(site, topology.name, error)
            if not retain and (record is None or not record.nodes):
                _undo(site, topology.name, error, keep_data=record is not None)
            raise


def _name_faults(site: Site, cluster: str, error: NotReady) -> None:
    """Says what is broken on purpose: it may be why nodes are not healthy."""
    agent = DockerAgent(site.provider.client)
    if not agent.exists():
        return
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
    only: Collection[str],
    wait_timeout: float | None,
) -> Outcome:
    provider, journal = site.provider, site.journal
    subnet = record.subnet if record else ""
    wanted = plan(topology, registry, _allocation(site, topology, registry, record, subnet or _NO_SUBNET, keep=True))
    chosen = _with_needs(only, wanted.order)
    _refuse_other_data(wanted, record)
    homes = {component.home for component in wanted.components.values()} - {""}
    images = Images(provider.client, journal, roles=[Path(home) / "roles" for home in sorted(homes)])
    built = images.ensure({node.image for node in wanted.nodes if node.component in chosen})
    if not subnet:
        with journal.step("create the network"):
            subnet = provider.create_network(topology.name, str(topology.file), record.kept_subnet if record else "")
        wanted = plan(topology, registry, _allocation(site, topology, registry, record, subnet, keep=True))
    rendered = {
        node.name: _rendered(wanted, node.name, built[node.image]) for node in wanted.nodes if node.component in chosen
    }
    disks = _disks(site, topology.name, rendered, is_new=record is None)
    changes = differences(record, rendered, disks, orphans=not only)
    _refuse_new_members(wanted, record, changes)
    _apply(site, wanted, record, rendered, disks, changes, wait_timeout)
    return Outcome(len(rendered), changes, _settle_links(site, topology))


def _settle_links(site: Site, topology: Topology) -> int:
    """Makes the impairments in force those of `links:`, when all is healthy: gives how many were changed.

    They are by address, so that a restart or a recreated node changes nothing. Where there are none, and no agent that
    might have some, nobody is asked.
    """
    agent = DockerAgent(site.provider.client)
    if not topology.links and not agent.exists():
        return 0
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


def differences(
    record: ClusterRecord | None,
    rendered: Mapping[str, Rendered],
    disks: Mapping[str, str] = MappingProxyType({}),
    *,
    orphans: bool = True,
) -> tuple[Change, ...]:
    """What has to happen to each node, in the order of the plan; nodes no topology asks for come last.

    `disks`: node -> the device that its data lies on. After the machine was started anew it may be another one.
    """
    found = {node.name: node for node in record.nodes} if record else {}
    changes: list[Change] = []
    for name, node in rendered.items():
        now = found.get(name)
        is_up = now is not None and now.state in (State.RUNNING, State.PAUSED)
        if now is None:
            changes.append(Change(name, "create"))
        elif now.state is State.CREATED:
            # An `up` that was killed may not have put the files in. It has never run, so there is nothing to lose.
            changes.append(Change(name, "create", "it was half made"))
        elif now.fingerprint != node.fingerprint:
            # What does not run is made anew at once: no other node waits for it to be replaced in its turn.
            changes.append(Change(name, "recreate" if is_up else "create", "the topology changed"))
        elif record and name in disks and record.devices.get(name) != disks[name]:
            changes.append(Change(name, "recreate" if is_up else "create", "its disk is another device now"))
        elif now.state is State.PAUSED:
            changes.append(Change(name, "unpause", "it was paused"))
        elif now.state is not State.RUNNING:
            changes.append(Change(name, "start", _why_down(now)))
    if orphans:
        changes += [Change(name, "remove", "the topology no longer has it") for name in found if name not in rendered]
    return tuple(changes)


def _apply(
    site: Site,
    wanted: Plan,
    record: ClusterRecord | None,
    rendered: Mapping[str, Rendered],
    disks: Mapping[str, str],
    changes: Sequence[Change],
    wait_timeout: float | None,
) -> None:
    """Makes all new nodes side by side, starts each component when those it needs are ready, then waits for the rest.

    A node that is made anew while its component runs waits until the others are ready again: one at a time, so that a
    majority stays. Components without a change are only looked at.
    """
    live = {node.name: node for node in record.nodes} if record else {}
    gone = [live[change.node] for change in changes if change.action == "remove"]
    new = [change.node for change in changes if change.action == "create"]
    work = _Work(site, wanted, rendered, disks, {change.node: change for change in changes}, live, wait_timeout)
    with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(max(1, len(wanted.order))) as components:
        try:
            if gone:
                with site.journal.step(f"remove {count(len(gone), 'node')} that the topology no longer has"):
                    _all([pool.submit(_retire, site, node, data=True) for node in gone])
                    _remove_disks(site, wanted.name, [node.name for node in gone])
            if new:
                with site.journal.step(f"create {count(len(new), 'node')}"):
                    _all([pool.submit(work.create, name) for name in new])
            steps: dict[str, Future[None]] = {}

            def bring(component: str) -> None:
                for need in wanted.order[component]:
                    if need in steps:
                        steps[need].result()
                if not work.stop.is_set():
                    work.bring_up(component, pool)

            for component in _in_order(wanted.order, {node.plan.component for node in rendered.values()}):
                steps[component] = components.submit(bring, component)
            _all(list(steps.values()))
        finally:
            work.stop.set()


@dataclass(frozen=True)
class _Work:
    """One `up` on its way. `live` holds what exists by node name, and is completed as nodes are made."""

    site: Site
    wanted: Plan
    rendered: Mapping[str, Rendered]
    disks: Mapping[str, str]
    changes: Mapping[str, Change]
    live: dict[str, NodeRecord]
    wait_timeout: float | None
    stop: Event = field(default_factory=Event)

    def create(self, name: str) -> None:
        source = str(self.wanted.topology.file)
        old = self.live.get(name)
        if old is not None and old.state is State.EXITED:
            _retire(self.site, old, data=False)
        elif old is not None:
            self.site.provider.remove(old, data=False)
        self.live[name] = self.site.provider.create(
            self.rendered[name], self.wanted.name, source, self.wanted.subnet, self.disks.get(name, "")
        )

    def start(self, change: Change) -> None:
        node = self.site.provider.node(self.live[change.node])
        if change.action == "unpause":
            node.unpause()
        else:
            node.start()

    def bring_up(self, component: str, pool: ThreadPoolExecutor) -> None:
        """Starts what does not run, makes anew what differs (one node after another), waits until all is ready."""
        mine = [self.changes[node.name] for node in self.wanted.nodes_of(component) if node.name in self.changes]
        quick = [change for change in mine if change.action != "recreate"]
        if quick:
            with self.site.journal.step(f"start {component}", component=component):
                _all([pool.submit(self.start, change) for change in quick])
        for change in mine:
            if change.action == "recreate" and not self.stop.is_set():
                with self.site.journal.step(f"make {change.node} anew: {change.why}", node=change.node):
                    _retire(self.site, self.live.pop(change.node), data=False)
                    self.create(change.node)
                    self.start(change)
                self.wait_ready(component)
        if not any(change.action == "recreate" for change in mine):
            self.wait_ready(component)

    def wait_ready(self, component: str) -> None:
        seconds = self.wait_timeout
        if seconds is None:
            seconds = self.wanted.topology.components[component].timeout.seconds
        with self.site.journal.step(f"{component} is healthy", component=component):
            wait_healthy(self.site, self.wanted, component, seconds, self.stop)


def wait_healthy(
    site: Site, wanted: Plan, component: str, seconds: float, stop: Event | None = None, *, only: Collection[str] = ()
) -> None:
    """Waits until a component (or of its nodes, those in `only`) is healthy; does its bootstrap on the way.

    A main process that ended never comes back by itself, so that ends the wait at once. Raises: NotReady, with the last
    thing seen and the last log lines of each node that is not ready.
    """
    described = wanted.components[component]
    deadline = Deadline(seconds)
    look = _Look(site, wanted, component, stop or Event(), only)
    try:
        if described.bootstrap is not None:
            ready.bootstrap(described.bootstrap, look, deadline)
        ready.wait_ready(look, deadline, only=only)
    except NotReady as error:
        raise _with_last_lines(site, wanted.name, error) from error


class _Look:
    """Looks at a component again and again; asks the engine only now and then, which costs more than a look."""

    EVERY = 0.5

    def __init__(self, site: Site, wanted: Plan, component: str, stop: Event, only: Collection[str]) -> None:
        self._site, self._wanted, self._component, self._stop, self._only = site, wanted, component, stop, only
        self._asked = -self.EVERY
        self._record: ClusterRecord | None = None

    def __call__(self) -> Running:
        if self._stop.is_set():
            raise ClusterkitError(f"{self._component} was not waited for: something else failed first")
        if SYSTEM.monotonic() - self._asked >= self.EVERY:
            self._record = self._site.provider.find(self._wanted.name)
            self._asked = SYSTEM.monotonic()
            ended = [
                node
                for node in (self._record.nodes if self._record else ())
                if node.component == self._component
                and node.state is State.EXITED
                and (not self._only or node.name in self._only)
            ]
            if ended:
                raise NotReady(
                    f"{self._component} is not healthy: the main process of {_names(ended)} ended",
                    unready={node.name: _why_down(node) for node in ended},
                )
        return view.running(self._wanted, self._site.provider, self._record, self._component)


def down(site: Site, cluster: str, *, keep_data: bool = False) -> Gone:
    """Heals, archives the logs and removes all that carries the cluster's label; works on a half-built or absent one.

    With the engine's last cluster its agent goes too.
    """
    with locks.held(site.provider.engine, cluster):
        return _take_down(site, cluster, keep_data=keep_data)


def _take_down(site: Site, cluster: str, *, keep_data: bool = False) -> Gone:
    record = site.provider.find(cluster)
    if record is None:
        return Gone()
    agent = DockerAgent(site.provider.client)
    has_agent = agent.exists()
    if has_agent:
        _heal_first(site, cluster)
    lines = [0]
    if record.nodes:
        with ThreadPoolExecutor(WORKERS) as pool, site.journal.step(f"remove {count(len(record.nodes), 'node')}"):
            lines = _all(
                [pool.submit(_retire, site, node, data=not keep_data, graceful=keep_data) for node in record.nodes]
            )
    if has_agent and not keep_data:
        _remove_disks(site, cluster)
    with site.journal.step("remove the network"):
        rest = site.provider.remove_rest(cluster, data=not keep_data)
    if has_agent and not site.provider.clusters():
        with site.journal.step("remove the agent: no cluster is left"):
            agent.remove()
    return Gone(len(record.nodes), rest.networks, record.volumes if not keep_data else 0, sum(lines))


def _heal_first(site: Site, cluster: str) -> None:
    """Undoes what the agent did to the cluster, so that nodes can end: a frozen disk would hold them. Starts no node.

    What cannot be healed is told; it does not keep anybody from taking the cluster down.
    """
    try:
        with open_agent(site.provider, site.journal) as agent:
            for mark in reversed(agent.marks(cluster)):
                with site.journal.step(f"heal {mark.id}: {mark.words}"):
                    agent.heal(mark.id)
    except ClusterkitError as error:
        site.journal.say(f"not everything could be healed before the end: {error.what}", level="warning")


def _disks(site: Site, cluster: str, rendered: Mapping[str, Rendered], *, is_new: bool) -> Mapping[str, str]:
    """node -> the device of its disk, made and attached by the agent where a component asks for one.

    `is_new`: there is no such cluster yet, so that disks of its name are an older one's.
    """
    sizes = {name: node.plan.data_bytes for name, node in rendered.items() if node.plan.has_disk}
    if not sizes:
        return {}
    with open_agent(site.provider, site.journal) as agent, site.journal.step(f"attach {count(len(sizes), 'disk')}"):
        if is_new:
            agent.call("disks_remove", cluster=cluster, nodes=None)
        return dict(agent.call("disks_make", cluster=cluster, nodes=sizes))


def _remove_disks(site: Site, cluster: str, nodes: Sequence[str] | None = None) -> None:
    """Those of the nodes, or all of the cluster, once nothing mounts them; and those of clusters that are no more.

    A cluster's network is made before its disks and removed after them: whoever has no network is listed nowhere. What
    cannot be removed is told; it does not keep anybody from taking the cluster down.
    """
    if not DockerAgent(site.provider.client).exists():
        return
    try:
        with open_agent(site.provider, site.journal) as agent:
            agent.call("disks_remove", cluster=cluster, nodes=nodes)
            left = {disk["cluster"] for disk in agent.call("disks")}
            for lost in left - {record.name for record in site.provider.clusters()}:
                agent.call("disks_remove", cluster=lost, nodes=None)
    except ClusterkitError as error:
        site.journal.say(f"disks could not be removed, the next down does it: {error.what}", level="warning")


def _retire(site: Site, node: NodeRecord, *, data: bool, graceful: bool = True) -> int:
    """Ends one node, archives its log, then removes it; gives back the number of lines archived."""
    live = site.provider.node(node)
    if node.state is State.PAUSED:
        live.unpause()
    if graceful and node.state is not State.EXITED:
        live.stop()
    elif node.state is not State.EXITED:
        live.kill()
    lines = archive(site.provider, [node], site.state, site.journal)
    site.provider.remove(node, data=data)
    return lines


def _undo(site: Site, cluster: str, error: BaseException, *, keep_data: bool) -> None:
    """A first `up` that failed leaves what was there before; trouble in the clean-up never hides the first error."""
    try:
        with site.journal.step("undo what was made"):
            _take_down(site, cluster, keep_data=keep_data)
    except ClusterkitError as trouble:
        error.add_note(f"the clean-up failed too: {trouble.what}; `clusterkit down` finishes it")


def act(site: Site, nodes: Sequence[NodeRecord], verb: str, do: Callable[[LiveNode], None]) -> None:
    """Does one thing to the service of each node, side by side, under the cluster's lock."""
    if not nodes:
        return
    with locks.held(site.provider.engine, nodes[0].cluster), ThreadPoolExecutor(WORKERS) as pool:

        def one(record: NodeRecord) -> None:
            with site.journal.step(f"{verb} {record.name}", node=record.name, component=record.component):
                do(site.provider.node(record))

        _all([pool.submit(one, record) for record in nodes])


def planned(site: Site, topology: Topology, registry: Registry, record: ClusterRecord) -> Plan:
    """The plan of a cluster that is there, with the addresses, ports and secrets that it has."""
    return plan(topology, registry, _allocation(site, topology, registry, record, record.subnet or _NO_SUBNET))


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
        fingerprint=tree.fingerprint(node, files, image.tag),
        users=image.users,
    )


def _refuse_new_members(wanted: Plan, record: ClusterRecord | None, changes: Sequence[Change]) -> None:
    """A vote among three does not become a vote among five by editing files: the members have to be told one by one."""
    for name, component in wanted.components.items():
        before = [node.name for node in record.nodes if node.component == name] if record else []
        after = [node.name for node in wanted.nodes_of(name)]
        if not component.needs_quorum or not before or (set(before) <= set(after) and len(before) == len(after)):
            continue
        changed = [change for change in changes if change.node in {*before, *after} and change.action == "recreate"]
        if changed:
            raise UsageError(
                f'component "{name}" runs with {len(before)} members and cannot become {len(after)} while it runs',
                where=wanted.topology.where("components", name, "replicas"),
                mend="take the cluster down first (its data is lost), or keep the number of replicas",
            )


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


def _in_order(order: Mapping[str, tuple[str, ...]], chosen: Collection[str]) -> list[str]:
    return [name for name in TopologicalSorter(order).static_order() if name in chosen]


def _with_last_lines(site: Site, cluster: str, error: NotReady) -> NotReady:
    """The same error, with the last lines that the nodes it names have printed."""
    evidence = list(error.evidence)
    record = site.provider.find(cluster)
    for name, seen in error.unready.items():
        evidence.append(f"{name}: {seen}")
        node = record.node(name) if record else None
        if node is not None:
            lines = deque(site.provider.logs(node), maxlen=LAST_LINES)
            evidence += [f"  | {_shortened(line.text)}" for line in lines] or ["  (it has printed nothing)"]
    return NotReady(error.what, mend=error.mend, evidence=evidence, unready=error.unready)


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


def _why_down(node: NodeRecord) -> str:
    return f"it had ended with code {node.exit_code}" if node.exit_code is not None else "it does not run"


def _names(nodes: Sequence[NodeRecord]) -> str:
    return ", ".join(node.name for node in nodes)


def count(number: int, noun: str) -> str:
    """ "1 node", "3 nodes"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _all(futures: Sequence[Future[T]]) -> list[T]:
    """The results of all; on the first failure those not begun are given up, those under way end, and it is raised."""
    done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
    failed = next((future for future in done if future.exception() is not None), None)
    if failed is not None:
        for future in waiting:
            future.cancel()
    return [future.result() for future in ([failed] if failed else futures)]
