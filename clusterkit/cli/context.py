"""L15. What commands share: which cluster is meant, the engine, the journal, and where its folder is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clusterkit import paths
from clusterkit.cli._complete import clusters
from clusterkit.cli.console import listener
from clusterkit.errors import UsageError
from clusterkit.journal import Journal

if TYPE_CHECKING:
    from clusterkit.cluster import Site
    from clusterkit.components.registry import Registry
    from clusterkit.model.topology import Topology
    from clusterkit.plan import Plan
    from clusterkit.providers.base import ClusterRecord, NodeRecord
    from clusterkit.providers.docker import DockerProvider

F = TypeVar("F", bound=Callable[..., object])


def name_option(command: F) -> F:
    """`--name`: a cluster by its name alone; no file is needed."""
    named = click.option("--name", "cluster", shell_complete=clusters, help="The cluster's name, instead of a file.")
    return named(command)


@dataclass
class Cluster:
    """A cluster that a command works on. `file` is None when it was named by `--name` and its file is gone."""

    name: str
    file: Path | None
    provider: DockerProvider
    journal: Journal
    topology_read: tuple[Topology, Registry] | None

    @cached_property
    def record(self) -> ClusterRecord | None:
        """What the engine says, asked once for each command."""
        return self.provider.find(self.name)

    @property
    def state(self) -> Path:
        return paths.state(self.file, self.name)

    @property
    def site(self) -> Site:
        from clusterkit.cluster import Site

        limit = self.topology_read[0].logging.limit if self.topology_read is not None else None
        return Site(self.provider, self.journal, self.state, limit.bytes if limit else None)

    @property
    def topology(self) -> Topology:
        return self._read[0]

    @property
    def registry(self) -> Registry:
        return self._read[1]

    @property
    def _read(self) -> tuple[Topology, Registry]:
        if self.topology_read is None:
            raise UsageError(
                f'the topology file of "{self.name}" is gone: {self.file or "it is not known"}',
                mend="put it back, or name a copy with -f",
            )
        return self.topology_read

    @property
    def found(self) -> ClusterRecord:
        """Raises: UsageError when no such cluster is there."""
        if self.record is None or not self.record.nodes:
            raise UsageError(f'no cluster "{self.name}" is up', mend="bring it up: clusterkit up")
        if self.topology_read is not None:
            from clusterkit.cluster import check_owner

            check_owner(self.topology, self.record)
        return self.record

    @cached_property
    def plan(self) -> Plan:
        """The plan of what is up, as far as the topology still has it."""
        from clusterkit.cluster import planned

        return planned(self.site, self.topology, self.registry, self.found)

    def scale(self, counts: Mapping[str, int]) -> None:
        """component -> how many nodes it is to have."""
        from clusterkit.scaling import scale

        if self.file is None:
            raise UsageError(f'the topology file of "{self.name}" is not known', mend="name it with -f")
        scale(self.site, self.name, self.file, counts)

    def forget(self) -> None:
        """What the engine said is asked for anew: the cluster was changed."""
        for known in ("record", "plan"):
            self.__dict__.pop(known, None)

    def select(self, words: Sequence[str]) -> tuple[NodeRecord, ...]:
        """The nodes that the words name; all when there are none."""
        from clusterkit.model.select import Candidate, select

        nodes = self.found.nodes
        if not words:
            return nodes
        chosen = select(words, [Candidate(n.name, n.component, n.zone) for n in nodes], self.roles)
        return tuple(node for node in nodes if node.name in chosen)

    def roles(self) -> dict[str, tuple[str, ...]]:
        """node name -> role names, as the systems say them now."""
        from clusterkit.health.roles import roles

        found = roles(self.plan, self.provider, self.found)
        return {node: tuple(role.name for role in held) for node, held in found.items()}


def journal(ctx: click.Context | None = None) -> Journal:
    """A journal that tells steps on stderr, as -v and -q ask."""
    ctx = ctx or click.get_current_context()
    options = ctx.find_root().obj or {}
    return Journal(listener(is_verbose=options.get("verbose", False), is_quiet=options.get("quiet", False)))


def open_cluster(
    file: Path | None,
    cluster: str | None = None,
    *,
    must_read: bool = False,
    disks: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Cluster:
    """The cluster meant by -f, --name or the default file. With `must_read` its topology has to be there and valid.
    With `disks` its data lies on disks of their own where it does not say otherwise; `overrides`: component -> keys
    that count in place of the file's.

    Commands that only look or take down work from labels alone, so that a broken or lost file never locks anybody out.
    """
    from clusterkit.check_topology import find_file, read_topology
    from clusterkit.errors import TopologyError
    from clusterkit.logs.own import file_listener
    from clusterkit.providers.docker import DockerProvider

    told = journal()
    read: tuple[Topology, Registry] | None = None
    source: Path | None = None
    if cluster is None:
        source = find_file(file, Path.cwd())
        try:
            read = read_topology(source, folder=Path.cwd(), environ=os.environ, disks=disks, overrides=overrides)
        except TopologyError as error:
            cluster = None if must_read else _made_from(source)
            if cluster is None:
                raise
            told.say(f"{source.name} is not valid, going on with what is up: {error.problems[0]}", level="warning")
    provider = DockerProvider()
    if read is not None:
        cluster, source = read[0].name, read[0].file
    elif source is None and cluster is not None:
        record = provider.find(cluster)
        source = Path(record.source) if record and record.source else None
        if source is not None and source.is_file():
            try:
                read = read_topology(source, folder=source.parent, environ=os.environ)
            except TopologyError:
                if must_read:
                    raise
    opened = Cluster(str(cluster), source, provider, told, read)
    told.listen(file_listener(opened.state))
    return opened


def _made_from(file: Path) -> str | None:
    """The cluster that was made from this file, as the labels say."""
    from clusterkit.providers.docker import DockerProvider

    made = [record.name for record in DockerProvider().clusters() if record.source == str(file.resolve())]
    return made[0] if made else None
