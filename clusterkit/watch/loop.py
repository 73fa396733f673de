"""L14. The loop: changes are gathered, then carried to the nodes of a component one after another.

Each is healthy again before the next is touched, so that the others serve meanwhile, and a change that breaks the
program breaks one node. What could not be carried to all nodes is tried again with the next change.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from clusterkit import locks
from clusterkit.clock import SYSTEM
from clusterkit.cluster import Site, Wish, planned, up, wait_healthy
from clusterkit.cluster.work import LEADING
from clusterkit.errors import ClusterkitError, CommandFailed, NotReady, UsageError
from clusterkit.health import ready, roles, view
from clusterkit.model.topology import Topology
from clusterkit.node import Command, File, State
from clusterkit.watch.files import Changes, Rule, Watcher

if TYPE_CHECKING:
    from clusterkit.components.registry import Registry
    from clusterkit.plan import Plan
    from clusterkit.providers.base import LiveNode, NodeRecord

LOCK_SECONDS = 60.0
"""How long another clusterkit that works on the cluster is waited for."""

_EXEC_SECONDS = 60.0
_STRONGEST_FIRST = ("rebuild", "restart", "signal", "exec", "")


@dataclass(frozen=True)
class Told:
    """What became of the changes of one component. `files`: names of files, as the user knows them.

    `done`: "restarted"; `nodes`: those that have it, in the order in which they got it; `error`: why the others do not.
    """

    component: str
    files: tuple[str, ...]
    done: str
    nodes: tuple[str, ...]
    seconds: float
    error: ClusterkitError | None = None


@dataclass(frozen=True)
class Delivery:
    """What each node of a component gets: files to put in, paths to take away, then what is done to its program."""

    files: tuple[File, ...]
    removed: tuple[str, ...]
    then: str
    signals: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()

    @property
    def words(self) -> str:
        """ "synced and restarted"."""
        done = ["synced"] if self.files or self.removed else []
        named = {"rebuild": "rebuilt", "restart": "restarted", "signal": "signalled", "exec": "told by a command"}
        return " and ".join([*done, *([named[self.then]] if self.then else [])])


class Again(ClusterkitError):
    """Something changed again before a node was healthy."""


def watch(site: Site, topology: Topology, registry: Registry, rules: Collection[Rule]) -> Generator[Told, None, None]:
    """Goes on for ever: after each change, what became of it. What changes meanwhile is gathered.

    Close the iterator to end it; nodes stay as they are.
    """
    with closing(Watcher(rules)) as watcher:
        left: Changes = {}
        while True:
            for rule, names in watcher.take().items():
                left.setdefault(rule, set()).update(names)
            for component in dict.fromkeys(rule.component for rule in left):
                mine = {rule: names for rule, names in left.items() if rule.component == component}
                told = _carry(site, topology, registry, mine, watcher.changed)
                if told.error is None:
                    for rule in mine:
                        del left[rule]
                yield told


def _carry(
    site: Site, topology: Topology, registry: Registry, changes: Mapping[Rule, Collection[str]], changed: Event
) -> Told:
    component = next(iter(changes)).component
    names = tuple(sorted(str(_path(rule, name, topology)) for rule, of_rule in changes.items() for name in of_rule))
    begun = SYSTEM.monotonic()
    has_it: list[str] = []
    delivery = deliver(changes)
    error: ClusterkitError | None = None
    try:
        if delivery.then == "rebuild":
            _rebuild(site, topology, registry, component, has_it)
        else:
            _in_turn(site, topology, registry, component, delivery, changed, has_it)
    except ClusterkitError as trouble:
        error = trouble
    return Told(component, names, delivery.words, tuple(has_it), SYSTEM.monotonic() - begun, error)


def _path(rule: Rule, name: str, topology: Topology) -> Any:
    path = rule.options.path / name if name else rule.options.path
    folder = topology.file.parent.resolve()
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def deliver(changes: Mapping[Rule, Collection[str]]) -> Delivery:
    """What nodes get for these changes. The strongest action is enough: who starts anew needs no signal."""
    then = min((rule.options.then for rule in changes), key=_STRONGEST_FIRST.index)
    if then == "rebuild":
        return Delivery((), (), then)
    files: list[File] = []
    removed: list[str] = []
    for rule, names in changes.items():
        for name in sorted(names) if rule.options.is_copied else ():
            path = rule.options.path / name if name else rule.options.path
            try:
                files.append(File(rule.target(name), path.read_bytes(), path.stat().st_mode & 0o777))
            except FileNotFoundError:
                removed.append(rule.target(name))
    if then == "restart":
        return Delivery(tuple(files), tuple(removed), then)
    signals = dict.fromkeys(rule.options.signal for rule in changes if rule.options.then == "signal")
    commands = dict.fromkeys(rule.options.command for rule in changes if rule.options.then == "exec")
    return Delivery(tuple(files), tuple(removed), then, tuple(signals), tuple(commands))


def _in_turn(
    site: Site,
    topology: Topology,
    registry: Registry,
    component: str,
    delivery: Delivery,
    changed: Event,
    has_it: list[str],
) -> None:
    """Raises: NotReady where a node does not become healthy: those that follow are left alone; Again, ..."""
    with locks.held(site.provider.engine, topology.name, wait=LOCK_SECONDS):
        plan, nodes, _ = _now(site, topology, registry, component)
        seconds = topology.components[component].timeout.seconds
        for node in nodes:
            with site.journal.step(f"{node.name}: {delivery.words}", node=node.name, component=component):
                _give(site.provider.node(node), node, delivery)
                try:
                    # Those before it, too: a program may die of the change only after it was healthy.
                    wait_healthy(site, plan, component, seconds, changed, only=[*has_it, node.name])
                except NotReady:
                    raise
                except ClusterkitError as error:
                    if changed.is_set():
                        raise Again(f"{node.name} was not healthy yet when something changed again") from error
                    raise
            has_it.append(node.name)


def _give(live: LiveNode, record: NodeRecord, delivery: Delivery) -> None:
    """A node that does not run is started, whatever else was to be done: that is how it sees the change."""
    if record.state is State.PAUSED:
        live.unpause()
    if delivery.files:
        live.put(delivery.files)
    is_up = record.state in (State.RUNNING, State.PAUSED)
    if not is_up:
        live.start()
    if delivery.removed:
        _run(live, ("rm", "-f", "--", *delivery.removed), user="0")
    if delivery.then == "restart" and (is_up or delivery.removed):
        live.stop()
        live.start()
    if not is_up:
        return
    for signal in delivery.signals:
        live.kill(signal)
    for command in delivery.commands:
        _run(live, command)


def _run(live: LiveNode, argv: tuple[str, ...], user: str = "") -> None:
    result = live.run(Command(argv, user=user, timeout=_EXEC_SECONDS))
    if result.code != 0:
        said = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()[-8:]
        raise CommandFailed(f"{live.name}: {argv[0]} ended with code {result.code}", evidence=said)


def _rebuild(site: Site, topology: Topology, registry: Registry, component: str, has_it: list[str]) -> None:
    """Builds the image, and makes the nodes anew. Those that are not healthy go first, together: they hold nothing up.

    Raises: InstallFailed, when all nodes are as they were; NotReady, when those that follow are.
    """
    _, nodes, unready = _now(site, topology, registry, component)
    first = [node.name for node in nodes if node.name in unready]
    for names in [first, *([node.name] for node in nodes if node.name not in unready)]:
        if names:
            up(site, topology, registry, Wish(components=[component], nodes=names))
            has_it += names


def _now(
    site: Site, topology: Topology, registry: Registry, component: str
) -> tuple[Plan, Sequence[NodeRecord], Collection[str]]:
    """The plan, the component's nodes in the order of their turns, and which of them are not healthy.

    Those come first: they serve nobody, and the change may be what mends them. A leader comes last, so that there is
    one election.
    """
    record = site.provider.find(topology.name)
    if record is None or not any(node.component == component for node in record.nodes):
        raise UsageError(f"no node of {component} is there any more", mend="bring it up: clusterkit up")
    plan = planned(site, topology, registry, record)
    running = view.running(plan, site.provider, record, component)
    unready = ready.unready(running)
    leading = {name for name, held in roles.read(running).items() if any(role.name in LEADING for role in held)}
    names = {member.name for member in running.group.members}
    mine = [node for node in record.nodes if node.component == component and node.name in names]
    return plan, sorted(mine, key=lambda node: (node.name not in unready, node.name in leading, node.index)), unready
