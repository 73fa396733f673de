"""L15. Which images are needed: by the topology here, by those that clusters were made from, by clusterkit itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import ClusterkitError
from clusterkit.model.files import DEFAULT_FILES

if TYPE_CHECKING:
    from clusterkit.providers.docker import DockerProvider


def needed_tags(provider: DockerProvider, file: Path | None) -> set[str]:
    """A topology that cannot be read needs what its nodes use, which are never removed."""
    from clusterkit.components.registry import Registry
    from clusterkit.model.image import Install
    from clusterkit.provision.recipe import base_tag, image_tag

    kinds = [kind for kind in Registry().kinds if kind != "service"]
    needed = {base_tag(), *(image_tag(Install(kind)) for kind in ("agent", "service", *kinds))}
    for source in _sources(provider, file):
        try:
            needed |= tags_of(source)
        except ClusterkitError:
            continue
    return needed


def tags_of(file: Path) -> set[str]:
    """What the topology needs. Raises: ClusterkitError where it cannot be read."""
    from clusterkit.check_topology import read_topology
    from clusterkit.plan import Allocation, allocate, plan
    from clusterkit.provision.recipe import image_tag

    topology, registry = read_topology(file, folder=Path.cwd(), environ=os.environ)
    nowhere = Allocation("192.0.2.0/24")
    ports = iter(range(20000, 30000))
    planned = plan(topology, registry, allocate(topology, registry, nowhere.subnet, nowhere, ports, lambda: ""))
    homes = [Path(component.home) / "roles" for component in planned.components.values() if component.home]
    return {image_tag(node.image, homes) for node in planned.nodes}


def _sources(provider: DockerProvider, file: Path | None) -> Iterable[Path]:
    if file is not None:
        yield file
    yield from (Path.cwd() / name for name in DEFAULT_FILES if file is None and (Path.cwd() / name).is_file())
    for record in provider.clusters():
        if record.source and Path(record.source).is_file():
            yield Path(record.source)
