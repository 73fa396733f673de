"""L9. Links that are slow, lossy, narrow or unreliable: each way by itself, for all traffic or for some ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clusterkit.agent.client import Order
from clusterkit.chaos.base import PortSpec
from clusterkit.errors import UsageError
from clusterkit.providers.base import NodeRecord


def link_order(
    cluster: str,
    fault: str,
    words: str,
    ways: Sequence[tuple[NodeRecord, NodeRecord]],
    impair: Mapping[str, float | bool],
    *,
    ports: Sequence[PortSpec] = (),
    owner: str = "",
) -> Order:
    """What the agent's kind "link" is to do: packets of each way, (sender, receiver), are impaired.

    `impair`: any of `delay_ms`, `jitter_ms`, `bits_per_second`; `loss`, `duplicate`, `reorder`, `corrupt` as shares of
    1 (a reordered packet leaves out the delay); `reset`. `ports` limits it to packets sent to these ports.
    Raises: UsageError when there is no way, or when nodes cannot be told apart.
    """
    ways = list({(one.name, other.name): (one, other) for one, other in ways if one.name != other.name}.values())
    if not ways:
        raise UsageError(f"{words}: nobody is on the other side", mend="name others with `towards:`")
    owners: dict[str, str] = {}
    for node in (node for way in ways for node in way):
        other = owners.setdefault(node.address, node.name)
        if other != node.name and not ports:
            raise UsageError(
                f"{other} and {node.name} share the address {node.address}: a link cannot tell them apart",
                mend="limit it to ports: ports: [7000/tcp]",
            )
    return Order(
        cluster=cluster,
        fault=fault,
        kind="link",
        words=words,
        nodes=tuple(sorted({node.name for way in ways for node in way})),
        args={
            "ways": [[one.address, other.address] for one, other in ways],
            "names": [[one.name, other.name] for one, other in ways],
            "ids": [one.runtime_id for one, _ in ways],
            "ports": [str(port) for port in ports],
            "impair": dict(impair),
        },
        owner=owner,
    )
