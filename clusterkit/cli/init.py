"""L15. `clusterkit init`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from clusterkit.errors import UsageError

SCHEMA = "clusterkit.schema.json"


@click.command()
@click.argument("name", required=False)
@click.option("--list", "is_list", is_flag=True, help="Show the topologies to begin with.")
@click.option(
    "--from",
    "compose",
    type=click.Path(path_type=Path),
    metavar="COMPOSE_FILE",
    help="Turn a Compose file into a topology.",
)
@click.option("--profile", "profiles", multiple=True, help="With --from: take the services of this profile, too.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(name: str | None, is_list: bool, compose: Path | None, profiles: tuple[str, ...], force: bool) -> None:
    """Write a commented clusterkit.yml into this folder, to begin with.

    NAME is one of `clusterkit init --list`; "quickstart" if not given. The schema for editors is written beside it.
    Files that are there are never replaced, unless --force says so.

    \b
    clusterkit init && clusterkit up
    clusterkit init --from compose.yaml
    """
    from clusterkit.gallery import DEFAULT

    if sum((name is not None, is_list, compose is not None)) > 1:
        raise UsageError("NAME, --list and --from are three different things", mend="give one of them")
    if profiles and compose is None:
        raise UsageError("--profile is for Compose files", mend="name the file: --from compose.yaml")
    if is_list:
        _list()
    elif compose is not None:
        _import(compose, profiles, force)
    else:
        _begin(name or DEFAULT, force)


def _list() -> None:
    from clusterkit.cli.table import show
    from clusterkit.gallery import GALLERY

    show(
        [
            {"name": name, "nodes": one.nodes, "memory": f"~{one.memory_mb} MB", "what it is": one.summary}
            for name, one in GALLERY.items()
        ]
    )


def _begin(name: str, force: bool) -> None:
    from clusterkit.gallery import GALLERY
    from clusterkit.model.words import did_you_mean

    if name not in GALLERY:
        mend = did_you_mean(name, GALLERY, "topologies")
        raise UsageError(f'there is no topology "{name}" to begin with', mend=f"{mend} See clusterkit init --list")
    entry = GALLERY[name]
    _write(Path.cwd(), entry.files(), force)
    click.echo(f"{name}: {entry.summary}; {entry.nodes} nodes, about {entry.memory_mb} MB")
    click.echo("next: read clusterkit.yml, then: clusterkit up")


def _import(compose: Path, profiles: tuple[str, ...], force: bool) -> None:
    import os

    from clusterkit.gallery.compose import import_compose

    folder = Path.cwd()
    _refuse(folder, ["clusterkit.yml"], force)
    made = import_compose(compose, folder, os.environ, profiles)
    for note in made.notes:
        click.echo(str(note), err=True)
    _write(folder, {"clusterkit.yml": made.text.encode()}, force)
    click.echo(f"{compose}: {made.summary}")
    click.echo("next: read the comments in clusterkit.yml, then: clusterkit up")


def _refuse(folder: Path, names: list[str], force: bool) -> None:
    """Raises: UsageError when files are there and are not to be replaced."""
    from clusterkit.model.files import DEFAULT_FILES
    from clusterkit.model.words import listed

    there = [name for name in dict.fromkeys([*names, *DEFAULT_FILES]) if (folder / name).exists()]
    if not there or force:
        return
    it = "it" if len(there) == 1 else "them"
    raise UsageError(
        f"{listed(there)} {'is' if len(there) == 1 else 'are'} there already, and nothing was written",
        mend=f"go to an empty folder, or replace {it}: --force",
    )


def _write(folder: Path, files: Mapping[str, bytes], force: bool) -> None:
    """Writes the files and the schema beside them. The schema is made, not anybody's work: it is always replaced.

    Raises: UsageError before anything is written when a file is there; when one cannot be written.
    """
    from clusterkit.check_topology.schema import json_schema

    _refuse(folder, list(files), force)
    schema = (json.dumps(json_schema(), indent=2) + "\n").encode()
    for name, content in {**files, SCHEMA: schema}.items():
        try:
            (folder / name).write_bytes(content)
        except OSError as error:
            raise UsageError(
                f"{folder / name} cannot be written: {error.strerror}", mend="go to a folder of your own"
            ) from error
        click.echo(f"wrote {name}", err=True)
