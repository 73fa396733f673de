"""L14. The dev loop: a file of the user's changes, and the nodes get it one after another."""

from clusterkit.watch.files import Rule
from clusterkit.watch.loop import Told, watch

__all__ = ["Rule", "Told", "watch"]
