"""L15. The Python API: a cluster as an object, small and typed. What it raises is in errors.py.

with Cluster.up("clusterkit.yml") as cluster:
    with cluster.fault("kill", target="leader of registry"):
        ...
    cluster.wait_healthy()
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clusterkit import paths
from clusterkit.check_topology import find_file, read_topology
from clusterkit.cluster import Site, Wish, check_owner, down, planned, up, wait_healthy
from clusterkit.components.base import LogFormat
from clusterkit.components.registry import Registry
from clusterkit.errors import ClusterkitError, UsageError
from clusterkit.health import roles, status
from clusterkit.health.status import NodeHealth
from clusterkit.journal import Entry, Journal
from clusterkit.logs import query
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.own import file_listener
from clusterkit.model.select import Candidate, select
from clusterkit.model.topology import Topology
from clusterkit.model.words import did_you_mean
from clusterkit.node import Command, File, Result, State
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, LiveNode, NodeRecord
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import DockerAgent

if TYPE_CHECKING:
    from clusterkit.chaos.base import Effect, Fault, Scene
    from clusterkit.chaos.strike import Struck

_LEASE_S = 30.0
"""A fault ends by itself so long after the program that made it was killed."""

_RENEW_S = 1.0


@dataclass(frozen=True)
class ClusterNode:
    """One node of a running cluster."""

    record: NodeRecord
    _live: LiveNode

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def component(self) -> str:
        return self.record.component

    @property
    def zone(self) -> str:
        return self.record.zone

    @property
    def address(self) -> str:
        """Inside the cluster; on Linux this machine reaches it too."""
        return self.record.address

    @property
    def state(self) -> State:
        return self._live.state()

    def exec(self, *argv: str, stdin: bytes = b"", user: str = "", timeout: float = 30.0) -> Result:
        """Runs a program on the node; a nonzero code is a result. Raises: NodeUnreachable."""
        return self._live.run(Command(argv, stdin=stdin, user=user, timeout=timeout))

    def read(self, path: str) -> bytes:
        """Raises: FileNotFoundError."""
        return self._live.read(path)

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._live.put([File(path, content, mode)])

    def port(self, name: str = "") -> tuple[str, int]:
        """Host and port on this machine; of the first port without a name. Raises: UsageError."""
        ports = self.record.host_ports
        if not ports or (name and name not in ports):
            known = ", ".join(ports) or "none"
            raise UsageError(f'{self.name} publishes no port "{name}"', mend=f"ports that are published: {known}")
        return "127.0.0.1", ports[name or next(iter(ports))]

    def start(self) -> None:
        self._live.start()

    def stop(self, grace: float = 10.0) -> None:
        """`grace`: seconds until it is killed."""
        self._live.stop(grace)

    def kill(self, signal: str = "KILL") -> None:
        self._live.kill(signal)

    def pause(self) -> None:
        self._live.pause()

    def unpause(self) -> None:
        self._live.unpause()


class Cluster:
    """A running cluster. As a context manager it is healed at the end, and taken down where `up` brought it up.

    For one thread at a time.
    """

    def __init__(self, site: Site, topology: Topology, registry: Registry, *, is_adopted: bool, keep: bool) -> None:
        """Use `Cluster.up`."""
        self._site, self._topology, self._registry = site, topology, registry
        self._is_adopted, self._keep = is_adopted, keep

    @classmethod
    def up(
        cls,
        topology: str | os.PathLike[str] | None = None,
        *,
        suffix: str = "",
        keep: bool = False,
        timeout: float | None = None,
        log: Callable[[Entry], None] | None = None,
    ) -> Self:
        """Brings a cluster up, or makes a running one what its topology says, and waits until it is healthy.

        `topology`: a file; clusterkit.yml of this folder if not given. `suffix` is added to its name, for several
        clusters of one file. `keep`: leave it up at the end; one that was up before is left anyway. `timeout`: seconds
        to wait for health, in place of each component's. `log` hears every step. Raises: ClusterkitError.
        """
        folder = Path.cwd()
        file = find_file(Path(topology) if topology is not None else None, folder)
        read, registry = read_topology(file, folder=folder, environ=os.environ)
        read = replace(read, name=f"{read.name}-{suffix}" if suffix else read.name)
        provider = DockerProvider()
        limit = read.logging.limit
        site = Site(provider, Journal(), paths.state(read.file, read.name), limit.bytes if limit else None)
        site.journal.listen(file_listener(site.state))
        if log is not None:
            site.journal.listen(log)
        record = provider.find(read.name)
        check_owner(read, record)
        up(site, read, registry, Wish(scale=record.scale if record else {}), wait_timeout=timeout)
        return cls(site, read, registry, is_adopted=record is not None and bool(record.nodes), keep=keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._is_adopted or self._keep:
            self.heal()
        else:
            self.down()

    @property
    def name(self) -> str:
        return self._topology.name

    # -- looking -----------------------------------------------------------------------------------------------------

    def nodes(self, *targets: str) -> tuple[ClusterNode, ...]:
        """All nodes, or those that targets name now: "cache-1", "cache", "zone a", "leader of registry".

        Raises: UsageError for a word that names nothing, and where the cluster is not up.
        """
        record = self._record()
        names = select(targets, [Candidate(n.name, n.component, n.zone) for n in record.nodes], self._role_names)
        provider = self._site.provider
        return tuple(ClusterNode(node, provider.node(node)) for node in record.nodes if node.name in names)

    def node(self, target: str) -> ClusterNode:
        """The one node that a target names. Raises: UsageError where there are none or several."""
        found = self.nodes(target)
        if len(found) != 1:
            names = ", ".join(node.name for node in found) or "none"
            raise UsageError(f'"{target}" is not one node but {len(found)}: {names}', mend="name one node")
        return found[0]

    def roles(self) -> dict[str, str]:
        """node name -> what it says it is now: leader, replica. Nodes that say nothing are absent."""
        held = roles.roles(self._plan(), self._site.provider, self._record())
        return {node: of_node[0].name for node, of_node in held.items() if of_node}

    def health(self) -> dict[str, NodeHealth]:
        """node name -> its health, with its role and what keeps it from being healthy."""
        return status.look(self._plan(), self._site.provider, self._record())

    def wait_healthy(self, *components: str, timeout: float = 60.0) -> None:
        """Waits until all components (or those named) are healthy. Raises: NotReady, with the last lines of nodes."""
        plan = self._plan()
        for name in components or plan.order:
            if name not in plan.groups:
                raise UsageError(f'no component is called "{name}"', mend=did_you_mean(name, plan.groups, "components"))
            wait_healthy(self._site, plan, name, timeout)

    def endpoints(self, component: str, port: str = "") -> list[str]:
        """host:port on this machine, of a component's first port or the one named."""
        found = [node.port(port) for node in self.nodes(component)]
        return [f"{host}:{number}" for host, number in found]

    def secrets(self, component: str) -> Mapping[str, str]:
        """The passwords that were made for a component: name -> value."""
        return self._plan().groups[component].secrets

    def logs(self, *targets: str, since_ns: int = 0, level: str = "", grep: str = "") -> Iterator[LogEntry]:
        """The lines up to now, of all nodes or those named, merged by time; clusterkit's own steps among them.

        `since_ns`: since 1970. `level`: the least one. `grep`: a regular expression.
        """
        import re

        names = {node.name for node in self.nodes(*targets)}
        wanted = query.Filter(since_ns=since_ns, level=level, grep=re.compile(grep) if grep else None)
        scope = query.Scope(
            self.name, self._record(), (self._site.state,), self._log_format, lambda node: node.name in names
        )
        with contextlib.closing(query.read(self._site.provider, scope, wanted)) as entries:
            yield from entries

    # -- breaking ----------------------------------------------------------------------------------------------------

    @contextmanager
    def fault(self, name: str, /, **fields: Any) -> Iterator[Effect]:
        """A fault that is in force in the body, and healed after it; gives what was measured.

        Names and fields are those of `clusterkit chaos list`: `fault("latency", delay="100ms", target="cache")`. It is
        renewed each second; when this process is killed, it ends by itself within 30 s. Raises: UsageError for what
        cannot be made here; NotReady where nodes that it ended do not come back.
        """
        from clusterkit.chaos.needs import refuse
        from clusterkit.chaos.strike import strike

        fault = self._made(name, fields)
        with self._scene() as scene:
            refuse([type(fault)], scene.agent.trials())
            struck = strike(fault, scene, _LEASE_S if fault.is_lasting else None)
            self._say(f"{struck.mark.id}: {struck.mark.words}; {struck.effect}", struck)
            stop = threading.Event()
            renewing = threading.Thread(target=self._renew, args=(struck, stop), daemon=True)
            renewing.start()
            try:
                yield struck.effect
            finally:
                stop.set()
                renewing.join()
                fault.heal(scene.look(), struck.mark)
                self._say(f"{struck.mark.id} healed: {struck.mark.words}", struck)

    def heal(self, timeout: float = 60.0) -> None:
        """Undoes all faults, starts and unpauses nodes that do not run, and waits until all is healthy."""
        if DockerAgent(self._site.provider.client).exists():
            from clusterkit.chaos.strike import heal

            with self._scene() as scene:
                heal(scene)
        for node in self.nodes():
            state = node.state
            if state is State.PAUSED:
                node.unpause()
            elif state is not State.RUNNING:
                node.start()
        self.wait_healthy(timeout=timeout)

    def down(self) -> None:
        """Archives the logs and removes the cluster with its data."""
        down(self._site, self.name)

    # -- what it is made of ------------------------------------------------------------------------------------------

    def _record(self) -> ClusterRecord:
        record = self._site.provider.find(self.name)
        if record is None or not record.nodes:
            raise UsageError(f'no cluster "{self.name}" is up', mend="bring it up: Cluster.up")
        return record

    def _plan(self) -> Plan:
        return planned(self._site, self._topology, self._registry, self._record())

    def _role_names(self) -> dict[str, tuple[str, ...]]:
        held = roles.roles(self._plan(), self._site.provider, self._record())
        return {node: tuple(role.name for role in of_node) for node, of_node in held.items()}

    def _log_format(self, kind: str) -> LogFormat:
        return self._registry[kind].log if kind in self._registry else LogFormat()

    @contextmanager
    def _scene(self) -> Iterator[Scene]:
        from clusterkit.chaos.scene import open_scene

        with open_scene(self._site.provider, self._site.journal, self._record(), self._plan, self._scale) as scene:
            yield scene

    def _scale(self, counts: Mapping[str, int]) -> None:
        from clusterkit.scaling import scale

        scale(self._site, self.name, self._topology.file, counts)

    def _renew(self, struck: Struck, stop: threading.Event) -> None:
        """Over a conversation of its own. What fails once is tried again: the lease outlasts many tries."""
        if not struck.fault.is_lasting:
            return
        with ExitStack() as stack:
            scene = stack.enter_context(self._scene())
            while not stop.wait(_RENEW_S):
                try:
                    scene.agent.renew([struck.mark.id], _LEASE_S)
                    if struck.fault.keeps:
                        struck.fault.keep(scene.look(), struck.mark)
                except ClusterkitError as error:
                    self._site.journal.say(f"{struck.mark.id}: {error.what}", level="warning")

    def _say(self, text: str, struck: Struck) -> None:
        self._site.journal.say(text, nodes=list(struck.mark.nodes))

    def _made(self, name: str, given: Mapping[str, Any]) -> Fault:
        from clusterkit.chaos.fields import fields_of
        from clusterkit.chaos.registry import faults, look_up

        kind = look_up(name)
        if kind is None:
            raise UsageError(f'no fault is called "{name}"', mend=did_you_mean(name, faults(), "faults"))
        known = fields_of(kind)
        values = {}
        for field, value in given.items():
            if field not in known:
                raise UsageError(f'{name} has no "{field}"', mend=did_you_mean(field, known, "fields"))
            try:
                values[field] = known[field].parse(value)
            except ValueError as error:
                raise UsageError(f"{name}: {field}: {error}") from error
        lacking = [field for field, spec in known.items() if spec.is_required and field not in values]
        if lacking:
            raise UsageError(f"{name} needs {', '.join(lacking)}", mend=f"for example: {kind.example}")
        return kind(**values)


def lines(entries: Sequence[LogEntry]) -> str:
    """Entries as people read them, one below the other."""
    from clusterkit.logs.text import Text

    return "".join(map(Text(list(dict.fromkeys(entry.node for entry in entries)), now=time.time()), entries))


__all__ = ["Cluster", "ClusterNode", "lines"]
