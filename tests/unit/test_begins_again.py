"""A start that failed by the system's own race with others is made again, a few times; any other end is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clusterkit.cluster.site import Look, Site
from clusterkit.components import rabbitmq
from clusterkit.errors import NotReady
from clusterkit.journal import Entry, Journal
from clusterkit.node import State
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, LogLine, NodeRecord
from clusterkit.providers.docker import DockerProvider
from tests.unit.components.node_servers import group

RACE = (
    "Application rabbit exited with reason: {{incompatible_feature_flags,{badrpc,{'EXIT',{{badmap,undefined},"
    '[{maps,get,[depends_on,undefined,[]],[{file,"maps.erl"}]}]}}}},{rabbit,start,[normal,[]]}}'
)


@dataclass
class Engine:
    """One node that has ended; `said`: its lines."""

    said: list[str]
    started: list[str] = field(default_factory=list)

    def find(self, _cluster: str) -> ClusterRecord:
        node = NodeRecord(
            "messages-1", "shop", "messages", "rabbitmq", "a", 1, "", {}, {}, "x", State.EXITED, exit_code=0
        )
        return cast("ClusterRecord", SimpleNamespace(nodes=(node,)))

    def logs(self, _node: NodeRecord) -> list[LogLine]:
        return [LogLine(number, "stdout", line) for number, line in enumerate(self.said)]

    def node(self, record: NodeRecord) -> Any:
        return SimpleNamespace(start=lambda: self.started.append(record.name))


def _look(engine: Engine, heard: list[Entry], monkeypatch: pytest.MonkeyPatch) -> Look:
    monkeypatch.setattr("clusterkit.health.view.running", lambda *_, **__: "looked")
    monkeypatch.setattr(Look, "EVERY", 0.0)
    journal = Journal()
    journal.listen(heard.append)
    of = group(rabbitmq.COMPONENT, name="messages")
    plan = cast(
        "Plan", SimpleNamespace(name="shop", components={"messages": rabbitmq.COMPONENT}, groups={"messages": of})
    )
    return Look(Site(cast("DockerProvider", engine), journal, Path()), plan, "messages")


def test_it_is_started_again_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, heard = Engine(["starting", RACE, *["a line of the crash report"] * 300]), list[Entry]()
    look = _look(engine, heard, monkeypatch)
    look()
    look()
    assert engine.started == ["messages-1", "messages-1"]
    assert [entry.level for entry in heard] == ["warning", "warning"]
    with pytest.raises(NotReady, match="the main process of messages-1 ended"):
        look()
    assert len(engine.started) == 2


@pytest.mark.parametrize("said", ["{incompatible_feature_flags,{missing,[quorum_queue]}}", "killed", ""])
def test_any_other_end_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    engine = Engine([said])
    with pytest.raises(NotReady, match="the main process of messages-1 ended"):
        _look(engine, [], monkeypatch)()
    assert engine.started == []
