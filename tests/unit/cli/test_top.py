"""Which nodes are measured, and what is said of one that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clusterkit.cli import top
from clusterkit.node import State
from clusterkit.providers.base import NodeRecord

NODE = NodeRecord("cache-1", "shop", "cache", "redis", "a", 1, "", {}, {}, "id", State.RUNNING)


def test_a_node_that_was_started_again_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[State] = []
    monkeypatch.setattr(top, "_read", lambda node, _seen: read.append(node.state))
    meters = top._Meters()
    for state in (State.RUNNING, State.EXITED, State.PAUSED):
        meters.watch([replace(NODE, state=state)])
        for thread in meters._threads.values():
            thread.join()
    assert read == [State.RUNNING, State.PAUSED]


@pytest.mark.parametrize(
    ("node", "cpu"),
    [
        (NODE, "..."),
        (replace(NODE, state=State.EXITED, exit_code=137), "exited 137"),
        (replace(NODE, state=State.CREATED), "created"),
    ],
)
def test_a_node_without_figures_says_why(node: NodeRecord, cpu: str) -> None:
    assert top._row(node, None)["cpu"] == cpu
