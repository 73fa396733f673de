"""From a history to the verdict of a run: valid only where something was proved."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from clusterkit.checkers.base import Validity, Verdict
from clusterkit.history.history import History
from clusterkit.history.op import NEMESIS, OBSERVER, PEEK, Op, OpType
from clusterkit.workloads.base import Expect, WorkloadSpec
from clusterkit.workloads.judge import TRIAL, Judged, expect_of, judge_run, leader_changes, workload_of
from clusterkit.workloads.kinds import KINDS

FELT = {"asked": "1 down", "seen": "1 of 1 down", "bites": True, "beside": "", "beside_is_well": True, "healed": False}
HEALED = {**FELT, "seen": "0 of 1 down", "bites": False, "healed": True}


class Story:
    """A history, told line by line; 100 ms pass with each."""

    def __init__(self) -> None:
        self.history = History()
        self._process = 0

    def fact(self, process: str, f: str, key: str | None = None, value: Any = None) -> Story:
        self._add(process, OpType.INFO, f, key, value)
        return self

    def call(self, f: str, argument: Any = None, result: Any = None, node: str = "kv-1", kind: str = "ok") -> Story:
        process = self._process
        self._add(process, OpType.INVOKE, f, None, argument, node)
        self._process += kind == "info"
        self._add(
            process, OpType(kind), f, None, result if kind == "ok" else argument, node, "" if kind == "ok" else "no"
        )
        return self

    def fault(self, felt: Any = None, healed: Any = None) -> Story:
        self.fact(NEMESIS, "inject", "kill-1", {"fault": "kill", "words": "kill kv-1", "nodes": ["kv-1"]})
        self.fact(NEMESIS, "measure", "kill-1", felt or FELT)
        self.call("add", 2)
        self.fact(NEMESIS, "heal", "kill-1", {})
        return self.fact(NEMESIS, "measure", "kill-1", healed or HEALED)

    def end(self, elements: Any, apart: Any = None) -> Story:
        self.fact(TRIAL, "phase", value="settle").fact(TRIAL, "recovery", value="")
        self.call(PEEK, None, elements, "kv-1").call(PEEK, None, elements if apart is None else apart, "kv-2")
        self.call("read", None, elements)
        return self.fact(TRIAL, "phase", value="check")

    def _add(
        self, process: int | str, kind: OpType, f: str, key: Any, value: Any, node: str = "", error: str = ""
    ) -> None:
        index = len(self.history)
        self.history.append(Op(index, process, kind, f, key, value, index * 10**8, node, error))


SPEC = WorkloadSpec("set", "kv", 1, {"add": 1})
EXPECT = Expect(converges=True)


def _judge(story: Story, expect: Expect = EXPECT, *more: Verdict) -> Judged:
    return judge_run(story.history, KINDS["set"](SPEC), expect, more)


def _good() -> Story:
    return Story().call("add", 1).fault().end([1, 2])


def test_a_run_that_kept_its_promises_is_valid() -> None:
    judged = _judge(_good())
    assert judged.validity is Validity.VALID
    assert judged.text.startswith("kv: 5 calls, 1 fault: nothing lost, all nodes agree, at most ")
    assert [part.checker for part in judged.parts] == ["set", "convergence", "availability", "recovery"]


def test_what_was_acknowledged_and_is_missing_is_lost() -> None:
    judged = _judge(Story().call("add", 1).fault().end([2]))
    assert judged.validity is Validity.INVALID
    assert "1 lost: 1" in judged.text


def test_losses_can_be_accepted() -> None:
    story = Story().call("add", 1).fault().end([2])
    assert _judge(story, Expect(may_lose=True)).validity is Validity.VALID


def test_nodes_that_stay_apart() -> None:
    judged = _judge(Story().call("add", 1).fault().end([1, 2], [1]))
    assert judged.validity is Validity.INVALID
    assert "nodes do not agree" in judged.text
    assert _judge(Story().call("add", 1).fault().end([1, 2], [1]), Expect()).validity is Validity.VALID


def test_a_cluster_that_does_not_come_back() -> None:
    story = (
        Story().call("add", 1).fault().fact(TRIAL, "recovery", value="kv is not healthy\nkv-1: it ended").end([1, 2])
    )
    judged = _judge(story)
    assert judged.validity is Validity.INVALID
    assert "after all was healed: kv is not healthy" in judged.text
    assert "it ended" not in judged.text


def test_a_log_line_that_must_never_be_there() -> None:
    bad = Verdict("logs", Validity.INVALID, "kv-1 panicked")
    assert _judge(_good(), EXPECT, bad).validity is Validity.INVALID


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (Story().call("add", 1).fault(felt={**FELT, "bites": False, "seen": "nothing"}).end([1, 2]),
         "kill-1 did not bite: asked 1 down, seen nothing"),
        (Story().call("add", 1).fault(felt={**FELT, "beside_is_well": False, "beside": "kv-2 too"}).end([1, 2]),
         "kill-1 affected what it must not: kv-2 too"),
        (Story().call("add", 1).fault(healed={**FELT, "healed": True}).end([1, 2]),
         "kill-1 was still felt after it was healed"),
        (Story().call("add", 1).fault().fact(NEMESIS, "declined", None, "pause was declined: no leader").end([1, 2]),
         "pause was declined: no leader"),
        (Story().call("add", 1).fault().fact(NEMESIS, "trouble", None, "leases could not be renewed").end([1, 2]),
         "leases could not be renewed"),
        (Story().call("add", 1).fault().fact(TRIAL, "interrupted", value="interrupted after 3 s").end([1, 2]),
         "interrupted after 3 s"),
        (Story().call("add", 1).fact(NEMESIS, "inject", "cut-1", {}).call("add", 2, kind="info").end([1]),
         "no call was ok during or after cut-1"),
    ],
)  # fmt: skip
def test_where_nothing_was_proved_it_is_unknown(story: Story, reason: str) -> None:
    judged = _judge(story)
    assert judged.validity is Validity.UNKNOWN
    assert reason in judged.text


def test_no_ok_before_the_end_proves_nothing() -> None:
    judged = _judge(Story().call("add", 1, kind="fail").end([]))
    assert judged.validity is Validity.UNKNOWN
    assert "no call was ok" in judged.reasons


def test_a_run_that_was_cut_off_is_unknown_unless_it_is_wrong_already() -> None:
    cut = Story().call("add", 1).call("read", None, [1])
    assert "the run did not come to its end" in _judge(cut, Expect()).reasons
    assert _judge(Story().call("add", 1).call("read", None, []), Expect()).validity is Validity.INVALID


def test_an_outage_that_was_too_long() -> None:
    assert _judge(_good(), Expect(unavailable_s=0.05)).validity is Validity.INVALID


def test_the_leader_change_that_a_scenario_is_about() -> None:
    story = _good()
    for value in ("kv-1", None, "kv-1", "kv-2"):
        story.fact(OBSERVER, "leader", "kv", value)
    assert leader_changes(story.history) == 1
    assert _judge(story, Expect(leader_changes=1)).validity is Validity.VALID
    assert "the leader changed 1 times" in _judge(story, Expect(leader_changes=2)).text


def test_what_is_written_in_run_json_is_read_back() -> None:
    spec = WorkloadSpec("queue", "kv", 3, {"enqueue": 2, "dequeue": 1}, clients=7, pinned=3)
    assert workload_of(spec.written()).spec == spec
    for expect in (Expect(), Expect(True, False, True, 6.5, 2), Expect(may_lose=True)):
        assert expect_of(expect.written()) == expect


def test_a_secret_is_written_by_the_name_of_its_variable() -> None:
    class Options(BaseModel):
        headers: dict[str, str] = {}
        program: tuple[str, ...] = ()

    said = {"TOKEN": "t0psecret", "LEVEL": "1"}
    given = Options(program=("x", "t0psecret"))
    spec = WorkloadSpec("set", "kv", 1, {}, options=given, variables=said)
    assert spec.written()["program"] == ["x", "${TOKEN}"]
    changed = Options.model_validate({"headers": {"Authorization": "Bearer t0psecret", "Price": "2$ 1"}})
    written = WorkloadSpec("set", "kv", 1, {}, options=changed, variables=said).written()
    assert written["headers"] == {"Authorization": "Bearer ${TOKEN}", "Price": "2$$ 1"}
    assert "t0psecret" not in repr(WorkloadSpec("set", "kv", 1, {}, variables=said))
