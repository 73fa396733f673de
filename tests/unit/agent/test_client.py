"""A conversation with an agent that is a thread of this test."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from clusterkit.agent.client import Agent, AgentGone, Order
from clusterkit.errors import ClusterkitError, UsageError

ORDER = Order("shop", "cut", "block", "cut a from b", ("a", "b"), {"pairs": [["1", "2"]]})


class Pipe:
    """A stream whose other end is a function of orders; None as its answer hangs up."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        self._answer = answer
        self._lines: queue.Queue[bytes] = queue.Queue()
        self.orders: list[dict[str, Any]] = []
        self.is_dead = False

    def send(self, line: bytes) -> None:
        order = json.loads(line)
        self.orders.append(order)
        said = self._answer(order)
        self._lines.put(b"" if said is None else json.dumps({"n": order["n"], **said}).encode() + b"\n")

    def receive(self) -> bytes:
        return self._lines.get()

    def is_open(self) -> bool:
        return not self.is_dead

    def close(self) -> None:
        self._lines.put(b"")


def _mark(order: dict[str, Any]) -> dict[str, Any]:
    return {**order["entry"], "id": "cut-1", "since_ns": 5, "left_s": order["lease_s"], "before": {}, "boot": "x"}


def test_an_order_becomes_a_mark() -> None:
    pipe = Pipe(lambda order: {"ok": _mark(order)})
    agent = Agent(lambda: pipe)
    mark = agent.inject(ORDER, 600)
    agent.close()
    assert (mark.id, mark.left_s, mark.nodes, mark.args) == ("cut-1", 600, ("a", "b"), {"pairs": [["1", "2"]]})
    assert pipe.orders[0]["pretend"] is False


def test_answers_find_their_askers_in_any_order() -> None:
    waiting: list[dict[str, Any]] = []
    lines: queue.Queue[bytes] = queue.Queue()

    class Late(Pipe):
        def send(self, line: bytes) -> None:
            waiting.append(json.loads(line))
            if len(waiting) == 8:
                for order in reversed(waiting):
                    lines.put(json.dumps({"n": order["n"], "ok": order["args"]["x"]}).encode() + b"\n")

        def receive(self) -> bytes:
            return lines.get()

        def close(self) -> None:
            lines.put(b"")

    late = Late(lambda _order: None)
    agent = Agent(lambda: late)
    found: dict[int, int] = {}
    threads = [threading.Thread(target=lambda x=x: found.__setitem__(x, agent.call("echo", x=x))) for x in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agent.close()
    assert found == {x: x for x in range(8)}


@pytest.mark.parametrize(
    ("answer", "raised", "said"),
    [
        ({"refused": "no loop devices", "mend": "load the module"}, UsageError, "mend: load the module"),
        ({"bug": "Traceback\nOSError: 5"}, ClusterkitError, "OSError: 5"),
    ],
)
def test_what_goes_wrong_is_said(answer: dict[str, Any], raised: type[Exception], said: str) -> None:
    agent = Agent(lambda: Pipe(lambda _order: answer))
    with pytest.raises(raised) as caught:
        agent.marks("shop")
    assert said in str(caught.value)
    agent.close()


def _agents(*pipes: Pipe) -> Agent:
    left = list(pipes)
    return Agent(lambda: left.pop(0))


def test_a_question_goes_to_the_next_agent() -> None:
    last = Pipe(lambda _order: {"ok": []})
    agent = _agents(Pipe(lambda _order: None), last)
    assert agent.marks("shop") == ()
    assert agent.marks("shop") == ()
    assert len(last.orders) == 2
    agent.close()


def test_an_order_to_make_a_fault_is_not_sent_twice() -> None:
    last = Pipe(lambda order: {"ok": _mark(order)})
    agent = _agents(Pipe(lambda _order: None), last)
    with pytest.raises(AgentGone):
        agent.inject(ORDER, 5)
    assert last.orders == []
    assert agent.inject(ORDER, 5).id == "cut-1"
    agent.close()


def test_an_agent_that_was_killed_without_a_word_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterkit.agent.client.LOOK_SECONDS", 0.001)

    class Silent(Pipe):
        def send(self, line: bytes) -> None:
            self.orders.append(json.loads(line))
            self.is_dead = True

    silent, last = Silent(lambda _order: None), Pipe(lambda _order: {"ok": []})
    agent = _agents(silent, last)
    assert agent.marks("shop") == ()
    assert len(silent.orders) == len(last.orders) == 1
    agent.close()
