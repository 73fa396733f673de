"""L9, pure. Whether a fault can be made here: by what the agent has tried on this machine, and by where data lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clusterkit.chaos.base import Fault
from clusterkit.errors import UsageError


def why_not(fault: type[Fault], trials: Mapping[str, str] | None, *, has_disk: bool) -> str | None:
    """Why a fault cannot be made here; "" where it can, None where nobody tried. `trials`: kind -> why not."""
    if trials is None:
        return None
    reasons = [trials.get(need, f'the agent does not know "{need}"') for need in fault.needs]
    if fault.needs_disk and not has_disk:
        reasons.append("no node has a disk of its own; set data: loop in the topology")
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def refuse(faults: Iterable[type[Fault]], trials: Mapping[str, str]) -> None:
    """Raises: UsageError for the first that this machine cannot make. Disks are each fault's own matter."""
    for fault in faults:
        reason = why_not(fault, trials, has_disk=True)
        if reason:
            raise UsageError(
                f"{fault.name} cannot be made here: {reason}", mend="`clusterkit chaos list` says what can"
            )
