"""L10. The whole life of a cluster as readable steps: `up` converges, `down` leaves nothing.

Truth is what the provider finds: every function here works after a crash of the one before. What a step started and a
failure interrupts is left for the next `up` or `down`, which ask the provider again.
"""

from clusterkit.cluster.changes import Change, differences
from clusterkit.cluster.down import Gone, down
from clusterkit.cluster.site import Site, act, count, wait_healthy
from clusterkit.cluster.up import Comparison, Outcome, Wish, check_owner, compare, planned, up
from clusterkit.cluster.work import restart_in_turn

__all__ = [
    "Change",
    "Comparison",
    "Gone",
    "Outcome",
    "Site",
    "Wish",
    "act",
    "check_owner",
    "compare",
    "count",
    "differences",
    "down",
    "planned",
    "restart_in_turn",
    "up",
    "wait_healthy",
]
