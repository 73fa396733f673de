"""The agent without nodes: its ledger, its leases, and what a new agent makes of what the last one left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clusterkit.agent.program import entry as entries
from clusterkit.agent.program import server
from clusterkit.agent.program.entry import Entry, Ledger
from clusterkit.agent.program.kind import Kind, Refused


class Spy(Kind):
    """A kind that writes down what it is asked."""

    name = "spy"
    asked: list[str]

    def look(self, entry: Entry) -> dict[str, Any]:
        if entry.args.get("refuse"):
            raise Refused("not on this node", "choose another")
        return {"was": 7}

    def make(self, entry: Entry) -> None:
        self.asked.append(f"make {entry.id}")
        if entry.args.get("breaks"):
            raise OSError("no such device")

    def keep(self, entry: Entry) -> None:
        self.asked.append(f"keep {entry.id}")

    def undo(self, entry: Entry) -> None:
        self.asked.append(f"undo {entry.id} {entry.before['was']}")
        if entry.args.get("stuck"):
            raise OSError("busy")

    def sweep(self) -> None:
        self.asked.append("sweep")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [100.0]
    monkeypatch.setattr(entries, "now", lambda: at[0])
    monkeypatch.setattr(server, "now", lambda: at[0])
    return at


def _agent(folder: Path) -> tuple[server.Server, list[str]]:
    made = server.Server(folder)
    spy = Spy(made)
    spy.asked = []
    made._kinds = {"spy": spy}
    return made, spy.asked


def _order(**more: Any) -> dict[str, Any]:
    given = {"cluster": "shop", "fault": "spy", "kind": "spy", "words": "look", "nodes": ["a-1"], "args": {}}
    return {**given, **more}


def _inject(agent: server.Server, lease_s: float | None = 10, *, pretend: bool = False, **more: Any) -> dict[str, Any]:
    return agent.do({"do": "inject", "entry": _order(**more), "lease_s": lease_s, "pretend": pretend})


def test_a_fault_is_written_down_before_it_is_made(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    written: list[list[str]] = []
    make = agent._kinds["spy"].make

    def look_first(_entry: Entry) -> None:
        written.append([one.id for one in Ledger(tmp_path / "ledger").read()])
        make(_entry)

    agent._kinds["spy"].make = look_first  # type: ignore[method-assign]  # a spy on the spy
    mark = _inject(agent)["ok"]
    assert written == [["spy-1"]]
    assert (mark["id"], mark["left_s"], mark["before"]) == ("spy-1", 10, {"was": 7})
    assert asked == ["make spy-1"]


def test_pretending_leaves_nothing(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    assert _inject(agent, pretend=True)["ok"]["before"] == {"was": 7}
    assert asked == []
    assert list(Ledger(tmp_path / "ledger").read()) == []
    assert agent.marks("") == []


def test_it_ends_by_itself(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    _inject(agent, 10)
    _inject(agent, None)
    for entry in agent.entries("spy"):
        agent._tick(entry)
    seconds[0] += 11
    for entry in agent.entries("spy"):
        agent._tick(entry)
    assert asked == ["make spy-1", "make spy-2", "keep spy-1", "keep spy-2", "undo spy-1 7", "keep spy-2"]
    assert [one.id for one in Ledger(tmp_path / "ledger").read()] == ["spy-2"]


def test_renewing_puts_the_end_off(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    _inject(agent, 5)
    seconds[0] += 4
    assert agent.do({"do": "renew", "ids": ["spy-1", "spy-9"], "lease_s": 5}) == {"ok": ["spy-1"]}
    seconds[0] += 4
    agent._tick(agent.entries("spy")[0])
    assert asked == ["make spy-1", "keep spy-1"]


def test_renewing_for_ever_takes_the_end_away(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    _inject(agent, 5)
    assert agent.do({"do": "renew", "ids": ["spy-1"], "lease_s": None}) == {"ok": ["spy-1"]}
    seconds[0] += 1000
    agent._tick(agent.entries("spy")[0])
    assert asked == ["make spy-1", "keep spy-1"]
    assert agent.marks("shop")[0]["left_s"] is None


def test_what_needs_the_engine_is_overdue_until_somebody_heals_it(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    _inject(agent, 5, engine=True)
    seconds[0] += 6
    for _ in range(3):
        agent._tick(agent.entries("spy")[0])
    assert asked == ["make spy-1", "undo spy-1 7"]
    assert agent.marks("shop")[0]["is_overdue"]
    assert agent.do({"do": "heal", "id": "spy-1"}) == {"ok": True}
    assert asked == ["make spy-1", "undo spy-1 7"]
    assert agent.do({"do": "heal", "id": "spy-1"}) == {"ok": False}


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    assert "no such device" in _inject(agent, args={"breaks": True})["bug"]
    assert asked == ["make spy-1", "undo spy-1 7"]
    assert agent.marks("") == []
    assert list(Ledger(tmp_path / "ledger").read()) == []
    assert _inject(agent, args={"refuse": True}) == {"refused": "not on this node", "mend": "choose another"}


def test_what_was_half_made_and_needs_the_engine_is_overdue(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    assert "no such device" in _inject(agent, engine=True, args={"breaks": True})["bug"]
    assert asked == ["make spy-1", "undo spy-1 7"]
    assert agent.marks("")[0]["is_overdue"]


def test_what_does_not_heal_stays_and_is_tried_again(tmp_path: Path, seconds: list[float]) -> None:
    agent, asked = _agent(tmp_path)
    _inject(agent, 5, args={"stuck": True})
    assert "busy" in agent.do({"do": "heal", "id": "spy-1"})["bug"]
    seconds[0] += 6
    agent._tick(agent.entries("spy")[0])
    agent._tick(agent.entries("spy")[0])
    assert asked == ["make spy-1", *["undo spy-1 7"] * 3]
    assert agent.marks("")[0]["trouble"] == "OSError: busy"


def test_a_new_agent_undoes_what_is_over_and_keeps_the_rest(tmp_path: Path, seconds: list[float]) -> None:
    agent, _ = _agent(tmp_path)
    _inject(agent, 5)
    _inject(agent, 50)
    seconds[0] += 10
    second, asked = _agent(tmp_path)
    second.begin()
    assert asked == ["undo spy-1 7", "keep spy-2", "sweep"]
    assert [mark["id"] for mark in second.marks("")] == ["spy-2"]


def test_after_the_machine_was_started_anew_everything_is_over(
    tmp_path: Path, seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, _ = _agent(tmp_path)
    _inject(agent, None)
    monkeypatch.setattr(server, "boot_id", lambda: "another life")
    second, asked = _agent(tmp_path)
    second.begin()
    assert asked == ["undo spy-1 7", "sweep"]
    assert second.marks("") == []


def test_ids_are_never_used_again(tmp_path: Path, seconds: list[float]) -> None:
    agent, _ = _agent(tmp_path)
    ids = [_inject(agent)["ok"]["id"] for _ in range(2)]
    agent.do({"do": "heal", "id": "spy-1"})
    assert ids == ["spy-1", "spy-2"]
    assert _inject(agent)["ok"]["id"] == "spy-3"
    second, _ = _agent(tmp_path)
    second.begin()
    assert _inject(second)["ok"]["id"] == "spy-4"


def test_half_written_files_of_the_ledger_are_taken_away(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    (tmp_path / "kill-1.json").write_text('{"id": "kill')
    (tmp_path / "kill-2.new").write_text("{")
    assert list(ledger.read()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_mark_is_asked_by_cluster(tmp_path: Path, seconds: list[float]) -> None:
    agent, _ = _agent(tmp_path)
    _inject(agent)
    _inject(agent, cluster="other")
    assert [mark["id"] for mark in agent.do({"do": "marks", "cluster": "other"})["ok"]] == ["spy-2"]
    assert len(agent.do({"do": "marks", "cluster": ""})["ok"]) == 2
