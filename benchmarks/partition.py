"""`python -m benchmarks.partition`: nine nodes parted into halves, in three ways, in turn on the same containers.

By the agent: one transaction on the host's bridge. By an exec in each node, which Blockade's older releases did from
the host and which needs iptables and NET_ADMIN in every node. By a helper container in the network of each node, as
Pumba does. The last two act on all nodes side by side, in threads.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from clusterkit.agent.client import Order
from clusterkit.chaos.grudge import between
from clusterkit.chaos.scene import open_agent
from clusterkit.journal import Journal
from clusterkit.model.image import Install
from clusterkit.providers.docker import DockerProvider
from clusterkit.provision.images import Images

LABEL = "clusterkit.bench"
NODES = 9


@dataclass
class Way:
    """Seconds of each run: order to last rule, first node's rule to the last's, healing; the agent's own work."""

    part: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    heal: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Node:
    name: str
    container: str
    address: str


def measure(runs: int) -> dict[str, Way]:
    """name of a way -> its figures; all ways take turns in each run."""
    provider = DockerProvider()
    image = Install("agent")
    tag = Images(provider.client, Journal()).ensure({image})[image].tag
    ways = {"the agent": Way(), "an exec in each node": Way(), "a helper container for each node": Way()}
    with _nodes(provider.client, tag) as nodes, open_agent(provider, Journal()) as agent:
        sides = nodes[: NODES // 2], nodes[NODES // 2 :]
        at = {node.name: node.address for node in nodes}
        pairs = [[at[one], at[other]] for one, other in between([[node.name for node in side] for side in sides])]
        others = {node: [other.address for other in sides[node in sides[0]]] for node in nodes}
        for _ in range(runs):
            way = ways["the agent"]
            begun = time.monotonic()
            mark = agent.inject(Order("bench", "partition", "block", "halves", (), {"pairs": pairs}), 30)
            way.part.append(time.monotonic() - begun)
            way.work.append(mark.made_in_s)
            way.spread.append(0.0)  # one transaction: no packet ever met a part of it
            begun = time.monotonic()
            agent.heal(mark.id)
            way.heal.append(time.monotonic() - begun)
            for name, act in (
                ("an exec in each node", _by_exec),
                ("a helper container for each node", lambda *args: _by_helper(tag, *args)),
            ):
                _peer(ways[name], provider.client, nodes, others, act)
    provider.client.close()
    return ways


def _peer(
    way: Way,
    client: Any,
    nodes: Sequence[Node],
    others: dict[Node, list[str]],
    act: Callable[[Any, Node, list[str]], None],
) -> None:
    with ThreadPoolExecutor(NODES) as pool:

        def drop(node: Node) -> float:
            act(client, node, ["iptables", "-A", "INPUT", "-s", ",".join(others[node]), "-j", "DROP"])
            return time.monotonic()

        begun = time.monotonic()
        ended = list(pool.map(drop, nodes))
        way.part.append(max(ended) - begun)
        way.spread.append(max(ended) - min(ended))
        begun = time.monotonic()
        list(pool.map(lambda node: act(client, node, ["iptables", "-F", "INPUT"]), nodes))
        way.heal.append(time.monotonic() - begun)


def _by_exec(client: Any, node: Node, argv: list[str]) -> None:
    made = client.exec_create(node.container, argv)["Id"]
    output = client.exec_start(made)
    if client.exec_inspect(made)["ExitCode"] != 0:
        raise SystemExit(f"{node.name}: {output.decode()}")


def _by_helper(tag: str, client: Any, node: Node, argv: list[str]) -> None:
    host = client.create_host_config(network_mode=f"container:{node.container}", cap_add=["NET_ADMIN", "NET_RAW"])
    helper = client.create_container(tag, argv, host_config=host, labels={LABEL: ""}, entrypoint=[])["Id"]
    try:
        client.start(helper)
        if client.wait(helper)["StatusCode"] != 0:
            raise SystemExit(f"{node.name}: {client.logs(helper).decode()}")
    finally:
        client.remove_container(helper, force=True)


@contextmanager
def _nodes(client: Any, tag: str) -> Iterator[list[Node]]:
    """Nine containers that have iptables and may use it, on a network of their own; removed at the end."""
    name = f"clusterkit-bench-{secrets.token_hex(3)}"
    network = client.create_network(name, labels={LABEL: ""})["Id"]
    made: list[str] = []
    try:
        for _ in range(NODES):
            host = client.create_host_config(network_mode=name, init=True, cap_add=["NET_ADMIN", "NET_RAW"])
            made.append(client.create_container(tag, ["sleep", "600"], host_config=host, labels={LABEL: ""})["Id"])
            client.start(made[-1])
        yield [
            Node(f"node-{index}", one, client.inspect_container(one)["NetworkSettings"]["Networks"][name]["IPAddress"])
            for index, one in enumerate(made)
        ]
    finally:
        for one in made:
            client.remove_container(one, force=True)
        client.remove_network(network)


def section(ways: dict[str, Way]) -> str:
    """For docs/benchmarks.md."""
    rows = [
        "## A partition over nine nodes",
        "",
        "Milliseconds, medians; the three ways take turns on the same containers (`python -m benchmarks.partition`).",
        "",
        "| by | order to last rule in force | first to last node | heal |",
        "|---|---|---|---|",
    ]
    for name, way in ways.items():
        spread = f"{_ms(way.spread)}" if any(way.spread) else "0: one transaction"
        note = f" (of it the agent's own work {_ms(way.work)})" if way.work else ""
        rows.append(f"| {name} | {_ms(way.part)}{note} | {spread} | {_ms(way.heal)} |")
    return "\n".join([*rows, ""])


def _ms(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}"


def main() -> int:
    print(section(measure(5)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
