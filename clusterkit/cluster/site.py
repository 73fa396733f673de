"""L10. What every step of a cluster's life shares: where it happens, waiting for health, ending a node."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

from clusterkit import locks
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.cluster.changes import why_down
from clusterkit.components.base import Member, Running
from clusterkit.errors import ClusterkitError, NotReady
from clusterkit.health import ready, view
from clusterkit.journal import Journal
from clusterkit.logs.archive import archive, trim
from clusterkit.node import State
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, LiveNode, NodeRecord
from clusterkit.providers.docker import DockerProvider

T = TypeVar("T")

WORKERS = 16
LAST_LINES = 8
_LONGEST_LINE = 200
_LINES_OF_AN_END = 400
"""In so many last lines the reason of an end is looked for: a crash report is long."""
_MOST_STARTS = 2
"""So often a node is started again."""


@dataclass(frozen=True)
class Site:
    """What every step needs: the engine, who listens, and the folder beside the topology.

    `archive_limit`: bytes that archived logs may take, None: no limit, or no topology says it.
    """

    provider: DockerProvider
    journal: Journal
    state: Path
    archive_limit: int | None = None

    def trim_archive(self) -> None:
        """Removes the oldest archived logs, as far as there are more than the limit."""
        if self.archive_limit is None:
            return
        files, size = trim(self.state, self.archive_limit)
        if files:
            of = "the oldest" if files == 1 else f"the {files} oldest"
            self.journal.say(f"removed {of} of the archived logs ({size / 2**20:.1f} MB): more than logging.limit")


def wait_healthy(
    site: Site, wanted: Plan, component: str, seconds: float, stop: Event | None = None, *, only: Collection[str] = ()
) -> None:
    """Waits until a component (or of its nodes, those in `only`) is healthy; does its bootstrap on the way.

    A main process that ended never comes back by itself, so that ends the wait at once. Raises: NotReady, with the last
    thing seen and the last log lines of each node that is not ready.
    """
    wait_look(site, Look(site, wanted, component, stop, only=only), seconds, only=only)


def wait_look(site: Site, look: Look, seconds: float, *, only: Collection[str] = ()) -> None:
    """The same, of what `look` sees."""
    described = look.wanted.components[look.component]
    deadline = Deadline(seconds)
    try:
        if described.bootstrap is not None:
            ready.bootstrap(described.bootstrap, look, deadline)
        ready.wait_ready(look, deadline, only=only)
    except NotReady as error:
        raise with_last_lines(site, look.wanted.name, error) from error


class Look:
    """Looks at a component again and again; asks the engine only now and then, which costs more than a look.

    `members`: those of the moment, while some come and others go; those of the plan if not given. `only`: the end of a
    main process is an error where it is one of these (all, if not given).
    """

    EVERY = 0.5

    def __init__(
        self,
        site: Site,
        wanted: Plan,
        component: str,
        stop: Event | None = None,
        *,
        members: tuple[Member, ...] | None = None,
        only: Collection[str] = (),
    ) -> None:
        self.wanted, self.component = wanted, component
        self._site, self._stop, self._members = site, stop or Event(), members
        self._only = only or [member.name for member in members or wanted.groups[component].members]
        self._asked = -self.EVERY
        self._starts: dict[str, int] = {}
        self._record: ClusterRecord | None = None

    def __call__(self) -> Running:
        if self._stop.is_set():
            raise ClusterkitError(f"{self.component} was not waited for: something else failed first")
        if SYSTEM.monotonic() - self._asked >= self.EVERY:
            self._record = self._site.provider.find(self.wanted.name)
            self._asked = SYSTEM.monotonic()
            nodes = self._record.nodes if self._record else ()
            ended = [node for node in nodes if node.name in self._only and node.state is State.EXITED]
            ended = [node for node in ended if not self._began_again(node)]
            if ended:
                raise NotReady(
                    f"{self.component} is not healthy: the main process of {_names(ended)} ended",
                    unready={node.name: why_down(node) for node in ended},
                )
        return view.running(self.wanted, self._site.provider, self._record, self.component, members=self._members)

    def _began_again(self, node: NodeRecord) -> bool:
        """Whether its start failed by the system's own race, and was made again."""
        pattern = self.wanted.components[self.component].begins_again
        if not pattern or self._starts.get(node.name, 0) == _MOST_STARTS:
            return False
        lines = deque(self._site.provider.logs(node), maxlen=_LINES_OF_AN_END)
        if not any(re.search(pattern, line.text) for line in lines):
            return False
        self._starts[node.name] = self._starts.get(node.name, 0) + 1
        self._site.journal.say(
            f"{node.name} ended while others started too, as {self.component} may; it is started again",
            level="warning",
            node=node.name,
        )
        self._site.provider.node(node).start()
        return True


def retire(site: Site, node: NodeRecord, *, data: bool, graceful: bool = True) -> int:
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


def act(site: Site, nodes: Sequence[NodeRecord], verb: str, do: Callable[[LiveNode], None]) -> None:
    """Does one thing to the service of each node, side by side, under the cluster's lock."""
    if not nodes:
        return
    with locks.held(site.provider.engine, nodes[0].cluster), ThreadPoolExecutor(WORKERS) as pool:

        def one(record: NodeRecord) -> None:
            with site.journal.step(f"{verb} {record.name}", node=record.name, component=record.component):
                do(site.provider.node(record))

        all_of([pool.submit(one, record) for record in nodes])


def with_last_lines(site: Site, cluster: str, error: NotReady) -> NotReady:
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


def _names(nodes: Sequence[NodeRecord]) -> str:
    return ", ".join(node.name for node in nodes)


def count(number: int, noun: str) -> str:
    """ "1 node", "3 nodes"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def all_of(futures: Sequence[Future[T]]) -> list[T]:
    """The results of all; on the first failure those not begun are given up, those under way end, and it is raised."""
    done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
    failed = next((future for future in done if future.exception() is not None), None)
    if failed is not None:
        for future in waiting:
            future.cancel()
    return [future.result() for future in ([failed] if failed else futures)]
