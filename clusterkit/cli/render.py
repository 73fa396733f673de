"""L15. `clusterkit render`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.options import file_option
from clusterkit.errors import EngineUnreachable, EnvironmentTrouble, UsageError

if TYPE_CHECKING:
    from clusterkit.components.registry import Registry
    from clusterkit.model.image import Image
    from clusterkit.model.topology import Topology
    from clusterkit.plan import Plan


@click.command()
@file_option
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write: new or empty.",
)
@click.option("--subnet", help="Take addresses from this network, and look for no cluster that is up.")
@click.option("--images", "with_images", is_flag=True, help="Make the images that the Compose file names, too.")
def command(file: Path | None, folder: Path, subnet: str | None, with_images: bool) -> None:
    """Write files by which others bring the cluster up: Compose, Ansible, Vagrant.

    The folder stands alone; its README.md says how it is used. If the cluster is up, its addresses, ports and passwords
    are taken; else fixed ones, from 192.168.56.0/24. Files that hold passwords are for you alone (mode 0600). Rendered
    again, the folder's own files are replaced; addresses and passwords stay.

    \b
    clusterkit render -o out && cd out && docker-compose up -d
    clusterkit render -o out && cd out && ansible-playbook -i inventory.yml site.yml
    """
    from clusterkit.check_topology import find_file, read_topology
    from clusterkit.cluster import count
    from clusterkit.model.image import Install
    from clusterkit.provision.recipe import image_tag
    from clusterkit.render.folder import notes, outputs
    from clusterkit.render.parts import images
    from clusterkit.render.write import write

    topology, registry = read_topology(find_file(file, Path.cwd()), folder=Path.cwd(), environ=os.environ)
    folder = folder.resolve()
    planned, from_where = _plan(topology, registry, folder, subnet)
    roles = tuple(Path(home) / "roles" for home in sorted({c.home for c in planned.components.values()} - {""}))
    tags = {image: image_tag(image, roles) for image in images(planned)}
    try:
        written = write(folder, planned, outputs(planned, tags))
    except OSError as error:
        raise EnvironmentTrouble(
            f"{error.filename}: {str(error.strerror).lower()}", mend="name a folder with -o that you may write to"
        ) from error
    if with_images:
        _make(list(tags), roles)
    nodes = count(len(planned.nodes), "node")
    secret = ", ".join(_tops(written.secret))
    click.echo(f"{os.path.relpath(folder)}: {nodes} in {written.files} files; README.md says how they are used")
    click.echo(f"  addresses: {planned.subnet}, {from_where}")
    click.echo(f"  passwords: in {count(len(written.secret), 'file')}, for you alone (mode 0600): {secret}")
    ours = sorted(tag for image, tag in tags.items() if isinstance(image, Install))
    if ours and not with_images:
        click.echo("  images: made by `clusterkit up`, or by `clusterkit render --images`")
        for tag in ours:
            click.echo(f"    {tag}")
    for note in notes(planned):
        click.echo(f"  note: {note}")


def _plan(topology: Topology, registry: Registry, folder: Path, subnet: str | None) -> tuple[Plan, str]:
    """The plan, and where its addresses are from, in words."""
    from clusterkit.plan import plan

    live = _live(topology, registry) if subnet is None else None
    if live is not None:
        return live, "as in the cluster that is up"
    from secrets import token_hex

    from clusterkit.render.write import SUBNET, fixed_allocation

    network = _network(subnet or SUBNET)
    allocation = fixed_allocation(folder, topology, registry, network, lambda: token_hex(18))
    return plan(
        topology, registry, allocation
    ), "as you said" if subnet else f'fixed: no cluster "{topology.name}" of this file is up'


def _live(topology: Topology, registry: Registry) -> Plan | None:
    """The plan of the cluster that is up from this file; None where there is none, or nobody to ask."""
    from clusterkit import paths
    from clusterkit.cli.context import journal
    from clusterkit.cluster import Site, planned
    from clusterkit.providers.docker import DockerProvider

    try:
        provider = DockerProvider()
    except EngineUnreachable:
        return None
    record = provider.find(topology.name)
    if record is None or not record.nodes or not record.subnet or record.source != str(topology.file):
        return None
    site = Site(provider, journal(), paths.state(topology.file, topology.name))
    return planned(site, topology, registry, record)


def _network(subnet: str) -> str:
    from ipaddress import IPv4Network

    try:
        return str(IPv4Network(subnet))
    except ValueError as error:
        raise UsageError(f"--subnet {subnet}: {error}", mend="write it like 10.20.30.0/24") from error


def _make(images: list[Image], roles: tuple[Path, ...]) -> None:
    from clusterkit.cli.context import journal
    from clusterkit.providers.engine import connect
    from clusterkit.provision.images import Images

    Images(connect(), journal(), roles=roles).ensure(images)


def _tops(paths: tuple[str, ...]) -> list[str]:
    """The first part of each path, a folder's with its slash."""
    return list(dict.fromkeys(f"{path.partition('/')[0]}{'/' if '/' in path else ''}" for path in paths))
