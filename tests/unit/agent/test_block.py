"""Pairs of addresses as nft transactions: what is asked of the kernel, and when."""

from __future__ import annotations

import re

import pytest

from clusterkit.agent.program import nft
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Refused
from clusterkit.agent.program.kinds import block
from clusterkit.agent.program.kinds.block import Block

A, B, C = "10.64.0.11", "10.64.0.12", "10.64.0.13"


class Box:
    def __init__(self) -> None:
        self.all: list[Entry] = []

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        return [entry for entry in self.all if entry.kind == kind and cluster in ("", entry.cluster)]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ran: list[str] = []

    def run(commands: str) -> str:
        ran.append(commands)
        return "table bridge clusterkit_gone\ntable bridge clusterkit_shop\ntable bridge other\n"

    monkeypatch.setattr(nft, "run", run)
    return ran


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [100.0]
    monkeypatch.setattr(block, "now", lambda: seconds[0])
    return seconds


def _entry(box: Box, *pairs: list[str | int], until: float | None = None, flap_s: float = 0) -> Entry:
    entry = Entry(
        id=f"cut-{len(box.all) + 1}",
        cluster="shop",
        fault="cut",
        kind="block",
        words="cut",
        nodes=[],
        since_ns=len(box.all),
        until=until,
        boot="",
        args={"pairs": [list(pair) for pair in pairs], "flap_s": flap_s},
    )
    box.all.append(entry)
    return entry


def _elements(text: str, verb: str) -> list[str]:
    """The last elements named with a verb."""
    found = re.findall(rf"^{verb} element bridge \S+ (\S+) {{ (.*) }}$", text, re.MULTILINE)
    return [f"{name}: {element}" for name, elements in found for element in elements.split(", ")]


def test_a_grudge_is_one_transaction_with_kernel_timeouts(kernel: list[str], at: list[float]) -> None:
    box = Box()
    Block(box).make(_entry(box, [A, B], [B, A, "tcp", 2379], until=130))
    assert len(kernel) == 1
    assert set(_elements(kernel[0], "add")) == {
        f"pairs: {A} . {B} timeout 12000ms",
        f"ports: {B} . {A} . tcp . 2379 timeout 12000ms",
    }


def test_a_short_lease_is_as_short_in_the_kernel(kernel: list[str], at: list[float]) -> None:
    box = Box()
    Block(box).make(_entry(box, [A, B], until=103))
    assert _elements(kernel[0], "add")[-1] == f"pairs: {A} . {B} timeout 3000ms"


def test_it_is_renewed_in_time_and_not_all_the_time(kernel: list[str], at: list[float]) -> None:
    box = Box()
    kind, entry = Block(box), _entry(box, [A, B])
    kind.make(entry)
    for _ in range(20):
        at[0] += 0.25
        kind.keep(entry)
    assert len(kernel) == 1
    at[0] += 4
    kind.keep(entry)
    assert len(kernel) == 2
    assert _elements(kernel[1], "add")[-1].endswith("timeout 12000ms")


def test_what_another_fault_needs_stays(kernel: list[str], at: list[float]) -> None:
    box = Box()
    kind = Block(box)
    first, _ = _entry(box, [A, B], [A, C]), _entry(box, [A, C])
    box.all.remove(first)
    kind.undo(first)
    assert _elements(kernel[-1], "delete") == [f"pairs: {A} . {B}"]


def test_the_last_one_takes_the_table_along(kernel: list[str], at: list[float]) -> None:
    box = Box()
    kind, entry = Block(box), _entry(box, [A, B])
    box.all.remove(entry)
    kind.undo(entry)
    kind.undo(entry)
    assert kernel == ["add table bridge clusterkit_shop\ndelete table bridge clusterkit_shop"] * 2


def test_a_flapping_link_is_down_and_up_in_turn(kernel: list[str], at: list[float]) -> None:
    box = Box()
    kind, entry = Block(box), _entry(box, [A, B], flap_s=1)
    kind.make(entry)
    seen = []
    for _ in range(16):
        at[0] += 0.25
        count = len(kernel)
        kind.keep(entry)
        if len(kernel) > count:
            seen.append(
                "up"
                if _elements(kernel[-1], "delete") and kernel[-1].rstrip().splitlines()[-1].startswith("delete")
                else "down"
            )
    assert seen == ["up", "down", "up", "down"]


def test_tables_of_clusters_without_a_fault_are_swept(kernel: list[str], at: list[float]) -> None:
    box = Box()
    _entry(box, [A, B])
    Block(box).sweep()
    assert kernel[1:] == ["delete table bridge clusterkit_gone"]


def test_nothing_to_cut_is_refused(kernel: list[str], at: list[float]) -> None:
    box = Box()
    with pytest.raises(Refused, match="nobody is on the other side"):
        Block(box).make(_entry(box))
