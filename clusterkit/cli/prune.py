"""L15. `clusterkit prune`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.options import file_option


@click.command()
@file_option
@click.option("--all", "everything", is_flag=True, help="All that no node uses: the next `up` makes them again.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(file: Path | None, everything: bool, dry_run: bool, yes: bool) -> None:
    """Remove images of ours that nothing needs any more.

    Kept are those that a container was made from, those that the topology here or of any cluster that is up asks for,
    and the present ones of clusterkit's own kinds. Images that clusterkit did not make are never touched.
    """
    from clusterkit.cli._confirm import confirm
    from clusterkit.cli._needed import needed_tags
    from clusterkit.cli.table import show
    from clusterkit.cluster import count
    from clusterkit.providers.docker import DockerProvider
    from clusterkit.provision.store import remove, stale, stored
    from clusterkit.units import Size

    provider = DockerProvider()
    found = stored(provider.client)
    gone = stale(found, set() if everything else needed_tags(provider, file))
    if not gone:
        click.echo(f"nothing to remove: {count(len(found), 'image')} of clusterkit, all needed")
        return
    show([{"image": one.tag or one.identity[7:19], "kind": one.kind, "size": _rounded(one.size_bytes)} for one in gone])
    if dry_run:
        click.echo(f"{count(len(gone), 'image')} would be removed; nothing was done")
        return
    if confirm(f"Remove {count(len(gone), 'image')}?", is_answered=yes):
        removed = remove(provider.client, gone)
        click.echo(f"removed {count(len(removed), 'image')} of {Size(sum(one.size_bytes for one in removed))} in all")


def _rounded(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f}MB"
