"""L15. `clusterkit images`: the images that clusterkit made, and how to take them to another machine."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.options import file_option
from clusterkit.errors import UsageError


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the images that clusterkit made; save and load them.

    \b
    clusterkit images
    clusterkit images save -o images.tar.gz
    clusterkit images load -i images.tar.gz
    """
    if ctx.invoked_subcommand is not None:
        return
    from clusterkit.cli.table import show
    from clusterkit.providers.docker import DockerProvider
    from clusterkit.provision.store import stored

    found = stored(DockerProvider().client)
    if not found:
        click.echo("no image of clusterkit is here; the first `up` makes them")
        return
    show(
        [
            {
                "image": one.tag or one.identity[7:19],
                "kind": one.kind,
                "size": f"{one.size_bytes / 2**20:.0f}MB",
                "used by": f"{len(one.users)} containers" if one.users else "-",
            }
            for one in found
        ]
    )


@command.command()
@file_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file; .gz is compressed.")
@click.option("--all", "everything", is_flag=True, help="All images of clusterkit that are here.")
def save(file: Path | None, output: Path, everything: bool) -> None:
    """Save what the topology needs: its images, the base image and the agent's.

    For a cache of CI: with them, `up` and `chaos-test` make no image. The images have to be here: `clusterkit up` makes
    them.
    """
    from clusterkit.cli._needed import tags_of
    from clusterkit.cluster import count
    from clusterkit.model.files import find_file
    from clusterkit.model.image import Install
    from clusterkit.providers.docker import DockerProvider
    from clusterkit.provision.recipe import base_tag, image_tag
    from clusterkit.provision.store import save as write
    from clusterkit.provision.store import stored

    provider = DockerProvider()
    found = [one for one in stored(provider.client) if one.tag]
    if not everything:
        wanted = tags_of(find_file(file, Path.cwd()))
        ours = {tag for tag in wanted if tag.startswith("clusterkit/")}
        missing = sorted(ours - {one.tag for one in found})
        if missing:
            raise UsageError(f"not here: {', '.join(missing)}", mend="make them first: clusterkit up")
        wanted |= {base_tag(), image_tag(Install("agent"))}
        found = [one for one in found if one.tag in wanted]
    if not found:
        raise UsageError("no image of clusterkit is here", mend="make them first: clusterkit up")
    write(provider.address, found, output)
    click.echo(f"{output}: {count(len(found), 'image')}, {output.stat().st_size / 2**20:.0f}MB")


@command.command()
@click.option("-i", "--input", "file", type=click.Path(path_type=Path), required=True, help="The file.")
def load(file: Path) -> None:
    """Load images that `clusterkit images save` wrote."""
    from clusterkit.cluster import count
    from clusterkit.providers.docker import DockerProvider
    from clusterkit.provision.store import load as read

    click.echo(f"{count(len(read(DockerProvider().address, file)), 'image')} loaded")
