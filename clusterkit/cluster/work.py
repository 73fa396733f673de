"""L10. The changes of one `up`, carried out: all at once where nothing is at stake, else one node after another.

A majority stays: a node that is made anew or restarted, that joins or leaves, waits until the others are ready again.
Whoever leads comes last, so that there is one election and not one for each node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from graphlib import TopologicalSorter
from threading import Event

from clusterkit import locks
from clusterkit.clock import Deadline
from clusterkit.cluster import disks
from clusterkit.cluster.changes import ROLLED, Change
from clusterkit.cluster.site import WORKERS, Look, Site, all_of, count, retire, wait_healthy, wait_look, with_last_lines
from clusterkit.components.base import Member, Membership, Running
from clusterkit.components.conditions import UNREACHABLE
from clusterkit.errors import NotReady
from clusterkit.health import ready, recovery, roles, view
from clusterkit.node import State
from clusterkit.plan import Plan
from clusterkit.providers.base import NodeRecord, Rendered

LEADING = ("leader", "primary")
_PATIENCE = 15.0
"""Seconds that a component which is not healthy gets before its nodes are changed one by one: the change may be what
mends it."""


@dataclass(frozen=True)
class Work:
    """One `up` on its way. `live` holds what exists by node name, and is completed as nodes are made, as is `disks`.

    `changes` by node; `disks`: node -> device; `wait_timeout` in seconds, in place of each component's own.
    `strange`: components of which data is there of nodes that are not wanted: they may count members that are gone.
    """

    site: Site
    wanted: Plan
    rendered: Mapping[str, Rendered]
    disks: dict[str, str]
    changes: Mapping[str, Change]
    live: dict[str, NodeRecord]
    wait_timeout: float | None
    strange: Collection[str] = ()
    stop: Event = field(default_factory=Event)

    def do(self) -> None:
        """Makes all new nodes side by side, starts each component when those it needs are ready, waits for the rest.

        Components that the topology no longer has go last: others may still have used them. Before all else where
        their ports are wanted again.
        """
        new = [change.node for change in self.changes.values() if change.action == "create"]
        gone = [
            self.live[change.node]
            for change in self.changes.values()
            if change.action == "remove" and self.live[change.node].component not in self.wanted.groups
        ]
        ports = {port for node in self.rendered.values() for port in node.plan.member.host_ports.values()}
        in_the_way = [node for node in gone if not ports.isdisjoint(node.host_ports.values())]
        with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(max(1, len(self.wanted.order))) as components:
            try:
                self._remove(in_the_way, pool)
                if new:
                    with self.site.journal.step(f"create {count(len(new), 'node')}"):
                        all_of([pool.submit(self.create, name) for name in new])
                self._bring_all(components, pool)
                self._remove([node for node in gone if node not in in_the_way], pool)
            finally:
                self.stop.set()

    def _bring_all(self, components: ThreadPoolExecutor, pool: ThreadPoolExecutor) -> None:
        steps: dict[str, Future[None]] = {}

        def bring(component: str) -> None:
            for need in self.wanted.order[component]:
                if need in steps:
                    steps[need].result()
            if not self.stop.is_set():
                self.bring_up(component, pool)

        try:
            chosen = {node.plan.component for node in self.rendered.values()}
            for component in TopologicalSorter(self.wanted.order).static_order():
                if component in chosen:
                    steps[component] = components.submit(bring, component)
            all_of(list(steps.values()))
        except BaseException:
            self.stop.set()
            raise

    def _remove(self, gone: Sequence[NodeRecord], pool: ThreadPoolExecutor) -> None:
        if not gone:
            return
        with self.site.journal.step(f"remove {count(len(gone), 'node')} that the topology no longer has"):
            all_of([pool.submit(retire, self.site, node, data=True) for node in gone])
            disks.remove(self.site, self.wanted.name, [node.name for node in gone])

    # -- one node ----------------------------------------------------------------------------------------------------

    def create(self, name: str) -> None:
        old = self.live.get(name)
        if old is not None and old.state is State.EXITED:
            retire(self.site, old, data=False)
        elif old is not None:
            self.site.provider.remove(old, data=False)
        source = str(self.wanted.topology.file)
        self.live[name] = self.site.provider.create(
            self.rendered[name], self.wanted.name, source, self.wanted.subnet, self.disks.get(name, "")
        )

    def start(self, change: Change) -> None:
        """What makes a node run as it should without a wait for others: start, unpause, change."""
        record = self.live[change.node]
        node = self.site.provider.node(record)
        if record.state is State.PAUSED:
            node.unpause()
        if record.state is not State.CREATED and record.parts != self.rendered[change.node].parts:
            self.site.provider.change(record, self.rendered[change.node])
        if record.state not in (State.RUNNING, State.PAUSED):
            node.start()

    def roll(self, change: Change) -> None:
        """Takes a node that runs down and brings it up as it should be."""
        record = self.live[change.node]
        if change.action == "recreate":
            del self.live[change.node]
            retire(self.site, record, data=False)
            self.create(change.node)
        else:
            node = self.site.provider.node(record)
            if record.state is State.PAUSED:
                node.unpause()
            node.stop()
            self.site.provider.change(record, self.rendered[change.node])
        self.site.provider.node(self.live[change.node]).start()

    # -- one component -----------------------------------------------------------------------------------------------

    def bring_up(self, component: str, pool: ThreadPoolExecutor) -> None:
        """Makes a component what it should be, and waits until it is healthy."""
        wanted = self.wanted.groups[component].members
        mine = [self.changes[member.name] for member in wanted if member.name in self.changes]
        leaving = self._leaving(component)
        quick = [change for change in mine if change.action not in (*ROLLED, "join")]
        if quick:
            recovery.revive(self.site.provider, self.site.journal, self.wanted, component)
            with self.site.journal.step(f"{_verb(quick)} {component}", component=component):
                all_of([pool.submit(self.start, change) for change in quick])
        rolled = [change for change in mine if change.action in ROLLED]
        joining = [change.node for change in mine if change.action == "join"]
        there = [member for member in wanted if member.name not in joining] + leaving
        if leaving or rolled or joining:
            self._wait_a_while(component, there)
        for member in reversed(leaving):
            there.remove(member)
            self._let_go(component, member, there)
        pending = [change.node for change in rolled]
        for change in self._leader_last(component, rolled, there):
            if self.stop.is_set():
                return
            pending.remove(change.node)
            word = {"recreate": "make {} anew", "restart": "restart {}"}[change.action].format(change.node)
            with self.site.journal.step(f"{word}: {change.why}", node=change.node):
                _step_down(self.site, self.wanted, component, change.node, there, self.stop)
                self.roll(change)
            # Those that are still as they were are not judged by how they are to become: another port, say.
            self._wait(component, there, only=[member.name for member in there if member.name not in pending])
        for name in joining:
            if self.stop.is_set():
                return
            there = self._take_in(component, name, there)
        if self._is_to_settle(component):
            self._settle(component, there)
            self._wait(component, there)
        elif not (rolled or joining or leaving):
            if not mine and self._is_well(component, there):
                self.site.journal.say(f"{component} is healthy", component=component)
                return
            self._settle(component, there)
            self._wait(component, there)

    def _leaving(self, component: str) -> list[Member]:
        """Nodes of the component that are to be removed, as members: the plan no longer has them."""
        group = self.wanted.groups[component]
        numbers = self.wanted.components[component].ports_for(group.options)
        return [
            Member(
                node.name,
                node.index,
                node.zone,
                node.address,
                {name: port.number for name, port in numbers.items()},
                node.host_ports,
            )
            for node in list(self.live.values())
            if node.component == component and self._action(node.name) == "remove"
        ]

    def _action(self, node: str) -> str:
        return self.changes[node].action if node in self.changes else ""

    def _let_go(self, component: str, leaving: Member, others: Sequence[Member]) -> None:
        """A node leaves: what only it has goes to others, the system is told, then it is removed with its data."""
        node = self.live[leaving.name]
        with self.site.journal.step(f"remove {leaving.name}", node=leaving.name, component=component):
            for other, membership in _memberships(self.wanted, component):
                if any(name in self.live for name in self._names_of(other)):
                    step = partial(self._release, component, other, membership, leaving)
                    self._repeat(component, [*others, leaving], step, f"could not let {leaving.name} go in time")
            del self.live[leaving.name]
            retire(self.site, node, data=True)
            disks.remove(self.site, self.wanted.name, [leaving.name])
            self._settle(component, others)
        self._wait(component, others)

    def _release(self, component: str, asked: str, membership: Membership, leaving: Member, running: Running) -> None:
        """`asked`: the component itself, or one that needs it."""
        seen = running if asked == component else _seen_from(self.site, self.wanted, asked, running)
        membership.release(seen, leaving)

    def _take_in(self, component: str, name: str, others: Sequence[Member]) -> list[Member]:
        """A node joins: the system is told, then it is made, and started, and counts. Gives all that are there then."""
        new = next(member for member in self.wanted.groups[component].members if member.name == name)
        with self.site.journal.step(f"{name} joins {component}", node=name, component=component):
            membership = self._membership(component)
            if not self._is_counted(component, new, others):
                if name in self.live:  # half made, by an `up` that was killed: it has never run
                    self.site.provider.remove(self.live.pop(name), data=False)
                if membership.counts is not None:
                    self._forget_data(name)  # of an earlier life: it would be refused
                self._repeat(
                    component,
                    others,
                    lambda running: membership.admit(running, new),
                    f"could not take {name} in in time",
                )
            self.create(name)
            self.site.provider.node(self.live[name]).start()
            everyone = [*others, new]
            self._settle(component, everyone)
        self._wait(component, everyone)
        return everyone

    def _forget_data(self, name: str) -> None:
        self.site.provider.remove_data(self.wanted.name, name)
        if name in self.disks:
            disks.remove(self.site, self.wanted.name, [name])
            sizes = {name: self.rendered[name].plan.data_bytes}
            self.disks.update(disks.make(self.site, self.wanted.name, sizes))

    def _is_counted(self, component: str, new: Member, others: Sequence[Member]) -> bool:
        """Whether the system counts it, and it has its data: only its container is gone."""
        membership = self._membership(component)
        if membership.counts is None or new.name in self.live or not self._has_volume(new.name):
            return False
        seen: list[frozenset[str]] = []
        counts = membership.counts
        everyone = self.wanted.groups[component].members
        self._repeat(
            component,
            others,
            lambda running: seen.append(counts(replace(running, group=replace(running.group, members=everyone)))),
            "could not be asked for its members in time",
        )
        return new.name in seen[-1]

    def _has_volume(self, node: str) -> bool:
        record = self.site.provider.find(self.wanted.name)
        return record is not None and node in record.devices

    def _membership(self, component: str) -> Membership:
        membership = self.wanted.components[component].membership
        assert membership is not None, f"nodes of {component} join nothing"
        return membership

    def _names_of(self, component: str) -> list[str]:
        return [member.name for member in self.wanted.groups[component].members]

    def _is_to_settle(self, component: str) -> bool:
        """Whether members came or went, here or among what it needs, or it has to be told of a change."""
        involved = (component, *self.wanted.order[component])
        nodes = [name for of in involved for name in self._names_of(of)]
        gone = [node for node, change in self.changes.items() if change.action == "remove" and node not in self.live]
        joined = any(self._action(name) in ("join", "change") for name in nodes)
        return bool(gone) or joined or not set(involved).isdisjoint(self.strange)

    def _settle(self, component: str, there: Sequence[Member], seconds: float | None = None) -> None:
        """A component whose members all begin with this `up` has nothing to settle."""
        membership = self.wanted.components[component].membership
        is_new = component not in self.strange and all(self._action(one.name) == "create" for one in there)
        if membership is not None and not is_new:
            what = "did not settle with its members in time"
            self._repeat(component, there, membership.settle, what, seconds)

    def _is_well(self, component: str, there: Sequence[Member]) -> bool:
        """Whether nothing at all is to be done, seen in one look: an `up` is often asked only that."""
        record = self.site.provider.find(self.wanted.name)
        seen = view.running(self.wanted, self.site.provider, record, component, members=tuple(there))
        bootstrap, membership = seen.component.bootstrap, seen.component.membership
        try:
            if ready.unready(seen) or (bootstrap is not None and bootstrap.is_needed(seen)):
                return False
            # A `scale` that was killed may have told the system of a member that was never made.
            counts = membership.counts if membership is not None else None
            return counts is None or counts(seen) <= {member.name for member in there}
        except UNREACHABLE:
            return False

    def _is_ready(self, component: str, there: Sequence[Member]) -> bool:
        record = self.site.provider.find(self.wanted.name)
        seen = view.running(self.wanted, self.site.provider, record, component, members=tuple(there))
        return not ready.unready(seen)

    def _leader_last(self, component: str, changes: Sequence[Change], there: Sequence[Member]) -> list[Change]:
        if len(changes) < 2:
            return list(changes)
        record = self.site.provider.find(self.wanted.name)
        running = view.running(self.wanted, self.site.provider, record, component, members=tuple(there))
        leading = _leading(running)
        return sorted(changes, key=lambda change: change.node in leading)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _seconds(self, component: str) -> float:
        own = self.wanted.topology.components[component].timeout.seconds
        return own if self.wait_timeout is None else self.wait_timeout

    def _wait(self, component: str, there: Sequence[Member], only: Collection[str] = ()) -> None:
        look = Look(self.site, self.wanted, component, self.stop, members=tuple(there), only=only)
        with self.site.journal.step(f"{component} is healthy", component=component):
            wait_look(self.site, look, self._seconds(component), only=only)

    def _wait_a_while(self, component: str, there: Sequence[Member]) -> None:
        """Nodes are taken down one by one only from a healthy component, as long as it may become so by itself.

        Where each node is for itself, nothing is at stake.
        """
        if self.wanted.components[component].membership is None:
            return
        look = Look(self.site, self.wanted, component, self.stop, members=tuple(there))
        deadline = Deadline(min(_PATIENCE, self._seconds(component)))
        try:
            if not self._is_ready(component, there):
                self._settle(component, there, deadline.left)
            ready.wait_ready(look, deadline)
        except NotReady as error:
            self.site.journal.say(f"{error.what}; going on, since a change may mend it", level="warning")

    def _repeat(
        self,
        component: str,
        there: Sequence[Member],
        step: Callable[[Running], object],
        what: str,
        seconds: float | None = None,
    ) -> None:
        look = Look(self.site, self.wanted, component, self.stop, members=tuple(there), only=("nobody",))
        try:
            ready.repeat(step, look, Deadline(self._seconds(component) if seconds is None else seconds), what)
        except NotReady as error:
            raise with_last_lines(self.site, self.wanted.name, error) from error


def restart_in_turn(site: Site, wanted: Plan, nodes: Sequence[NodeRecord], grace: float) -> None:
    """Restarts nodes one after another, of each component the leader last; each waits until its component is healthy.

    `grace`: seconds until a node that does not stop is killed. Raises: NotReady; the nodes that follow are left alone.
    """
    with locks.held(site.provider.engine, wanted.name):
        for component in dict.fromkeys(node.component for node in nodes):
            record = site.provider.find(wanted.name)
            leading = _leading(view.running(wanted, site.provider, record, component))
            mine = [node for node in nodes if node.component == component]
            there = wanted.groups[component].members
            for node in sorted(mine, key=lambda node: node.name in leading):
                with site.journal.step(f"restart {node.name}", node=node.name, component=component):
                    _step_down(site, wanted, component, node.name, there, Event())
                    live = site.provider.node(node)
                    live.stop(grace)
                    live.start()
                with site.journal.step(f"{component} is healthy", component=component):
                    seconds = wanted.topology.components[component].timeout.seconds
                    wait_healthy(site, wanted, component, seconds)


def _step_down(site: Site, wanted: Plan, component: str, name: str, there: Sequence[Member], stop: Event) -> None:
    """Another node leads before this one is taken down, if that can be had: the restart may be what mends a system."""
    member = next(member for member in there if member.name == name)
    look = Look(site, wanted, component, stop, members=tuple(there), only=("nobody",))
    for other, membership in _memberships(wanted, component):

        def step(running: Running, asked: str = other, rules: Membership = membership) -> None:
            rules.step_down(running if asked == component else _seen_from(site, wanted, asked, running), member)

        try:
            ready.repeat(step, look, Deadline(_PATIENCE), f"could not do without {name} in time")
        except NotReady as error:
            site.journal.say(f"{error.what}; going on", level="warning")


def _memberships(wanted: Plan, component: str) -> list[tuple[str, Membership]]:
    """How members come and go, of those that need the component, then of itself."""
    users = [name for name, needs in wanted.order.items() if component in needs]
    held = [(name, wanted.components[name].membership) for name in (*users, component)]
    return [(name, membership) for name, membership in held if membership is not None]


def _seen_from(site: Site, wanted: Plan, user: str, needed: Running) -> Running:
    """A component that needs another one, with that one as it is now."""
    running = view.running(wanted, site.provider, site.provider.find(wanted.name), user)
    name = needed.group.name
    group = replace(running.group, needs={**running.group.needs, name: needed.group})
    return replace(running, group=group, needs={**running.needs, name: needed})


def _leading(running: Running) -> set[str]:
    held = roles.read(running)
    return {name for name, roles_of in held.items() if any(role.name in LEADING for role in roles_of)}


def _verb(changes: Sequence[Change]) -> str:
    return "change" if all(change.action == "change" for change in changes) else "start"
