"""L1, pure. What an image is asked for by: a role, a name, or a Dockerfile."""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterkit.model.topology import Build


@dataclass(frozen=True)
class Install:
    """An image that clusterkit makes: a role's `install` on the base image, with a user's further packages."""

    role: str
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pull:
    """An image that the user named."""

    reference: str


@dataclass(frozen=True)
class BuildImage:
    """An image made from the user's Dockerfile."""

    component: str
    build: Build = field(hash=False)


Image = Install | Pull | BuildImage
