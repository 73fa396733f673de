"""What one node itself has is judged for convergence, and for nothing else."""

from __future__ import annotations

from clusterkit.checkers.availability import Availability
from clusterkit.checkers.base import Validity
from clusterkit.checkers.convergence import Convergence
from clusterkit.checkers.linearizable import Linearizable
from clusterkit.checkers.models import register
from clusterkit.history.history import History
from clusterkit.history.op import NEMESIS, OBSERVER, PEEK, OpType


def _history(*lines: tuple[int | str, str, str, object, str]) -> History:
    """(process, type, f, value, node), 1 s apart, all of key x."""
    history = History()
    from clusterkit.history.op import Op

    for index, (process, kind, f, value, node) in enumerate(lines):
        history.append(Op(index, process, OpType(kind), f, "x", value, index * 10**9, node))
    return history


def _stale_peeks() -> History:
    return _history(
        (0, "invoke", "write", 1, ""), (0, "ok", "write", 1, "kv-1"),
        (0, "invoke", "read", None, ""), (0, "ok", "read", 1, "kv-1"),
        (1, "invoke", PEEK, None, "kv-1"), (1, "ok", PEEK, 1, "kv-1"),
        (1, "invoke", PEEK, None, "kv-2"), (1, "ok", PEEK, None, "kv-2"),
    )  # fmt: skip


def test_a_stale_peek_is_no_stale_read() -> None:
    assert Linearizable(register()).check(_stale_peeks()).validity is Validity.VALID


def test_peeks_that_differ_are_no_convergence_though_all_reads_are_equal() -> None:
    verdict = Convergence().check(_stale_peeks())
    assert verdict.validity is Validity.INVALID
    assert verdict.indices == (4, 5, 6, 7)


def test_a_client_that_looked_for_its_node_is_known_by_where_it_ended() -> None:
    calls = _stale_peeks().calls("write")
    assert (calls[0].invoke.node, calls[0].node) == ("", "kv-1")
    assert " on kv-1: key x write 1" in str(calls[0])


def test_peeks_say_nothing_of_availability() -> None:
    assert Availability().check(_stale_peeks()).numbers["calls"] == 2


def test_a_swap_that_was_not_made_is_no_error_and_the_old_leader_is_no_new_one() -> None:
    history = _history(
        (OBSERVER, "info", "leader", "kv-1", ""),
        (NEMESIS, "info", "inject", None, ""),
        (0, "invoke", "cas", [1, 2], "kv-1"), (0, "fail", "cas", None, "kv-1"),
        (OBSERVER, "info", "leader", None, ""), (OBSERVER, "info", "leader", "kv-1", ""),
        (0, "invoke", "cas", [1, 2], "kv-1"), (0, "ok", "cas", [1, 2], "kv-1"),
        (OBSERVER, "info", "leader", "kv-2", ""),
    )  # fmt: skip
    told = Availability().check(history).numbers["faults"]["x"]
    assert (told["first error"], told["new leader"]) == (None, 7.0)
