"""Three of every component of a distributed system on one machine, every log line, and faults on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clusterkit.release import __version__

if TYPE_CHECKING:
    from clusterkit.api import Cluster, ClusterNode
    from clusterkit.errors import ClusterkitError

__all__ = ["Cluster", "ClusterNode", "ClusterkitError", "__version__"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: the command line must start quickly."""
    if name == "ClusterkitError":
        from clusterkit.errors import ClusterkitError

        return ClusterkitError
    if name in ("Cluster", "ClusterNode"):
        from clusterkit import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
