"""L15. The cluster that is broken: found by its labels alone, because whoever breaks something wants to be quick."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from clusterkit.cli.context import Cluster, journal, open_cluster
from clusterkit.errors import UsageError
from clusterkit.journal import Journal
from clusterkit.logs.own import file_listener
from clusterkit.model.files import find_file
from clusterkit.providers.base import ClusterRecord
from clusterkit.providers.docker import DockerProvider

if TYPE_CHECKING:
    from clusterkit.chaos.base import Scene
    from clusterkit.components.registry import Registry
    from clusterkit.model.topology import Topology


@dataclass
class ChaosCluster(Cluster):
    """A cluster whose topology is read when a word needs it: "leader of registry".

    `named` are the options that name it again, for what is to be typed next. `facts` goes to the timeline alone: what
    was done to the cluster is told on stdout already.
    """

    named: str = ""
    facts: Journal = field(default_factory=Journal)

    @cached_property
    def _read(self) -> tuple[Topology, Registry]:
        from clusterkit.check_topology import read_topology

        if self.topology_read is not None or self.file is None or not self.file.is_file():
            return super()._read
        return read_topology(self.file, folder=Path.cwd(), environ=os.environ)

    def say(self, text: str, nodes: Sequence[str] = ()) -> None:
        """Into the timeline, among the lines of these nodes."""
        self.facts.say(text, nodes=list(nodes))

    @contextmanager
    def scene(self, seed: int = 0) -> Iterator[Scene]:
        """The agent is started where it does not run."""
        from clusterkit.chaos.scene import open_scene

        record = self.record or ClusterRecord(self.name, "", "", "", ())
        with open_scene(self.provider, self.journal, record, lambda: self.plan, self.scale) as scene:
            yield replace(scene, random=Random(seed))  # noqa: S311 - chance that can be repeated, no secret

    @contextmanager
    def up(self, seed: int = 0) -> Iterator[Scene]:
        """The same, of a cluster that is there. Raises: UsageError when it is not."""
        if self.record is None or not self.record.nodes:
            raise UsageError(f'no cluster "{self.name}" is up', mend="bring it up: clusterkit up")
        with self.scene(seed) as scene:
            yield scene


def find_cluster(file: Path | None, cluster: str | None) -> ChaosCluster:
    """The cluster meant by --name, else the one that was made from the file, which may be gone.

    The file is read only where the labels do not say it. Raises: UsageError.
    """
    if cluster is not None:
        return _opened(DockerProvider(), cluster, None, None, f" --name {cluster}")
    path = _file(file)
    named = f" -f {shlex.quote(str(file))}" if file is not None else ""
    provider = DockerProvider()
    made = [record for record in provider.clusters() if record.source and _is_same(record.source, path)]
    if len(made) == 1:
        return _opened(provider, made[0].name, path, made[0], named)
    return _opened(provider, open_cluster(path, must_read=True).name, path, None, named)


def _opened(
    provider: DockerProvider, name: str, file: Path | None, record: ClusterRecord | None, named: str
) -> ChaosCluster:
    record = record or provider.find(name)
    if file is None and record is not None and record.source:
        file = Path(record.source)
    opened = ChaosCluster(name, file, provider, journal(), None, named)
    opened.record = record
    opened.journal.listen(file_listener(opened.state))
    opened.facts.listen(file_listener(opened.state))
    return opened


def _file(file: Path | None) -> Path:
    try:
        return find_file(file, Path.cwd())
    except UsageError as error:
        raise UsageError(error.what, mend="go to its folder, or name it: -f FILE, or --name CLUSTER") from error


def _is_same(source: str, path: Path) -> bool:
    return Path(source).resolve() == path.resolve()
