"""Limits as files of cgroups, of both versions: what is written, in which order, and what is there afterwards."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterkit.agent.program import nodes
from clusterkit.agent.program.entry import Entry
from clusterkit.agent.program.kind import Kind, Refused
from clusterkit.agent.program.kinds import resource
from clusterkit.agent.program.kinds.resource import ROOM, Cpu, Memory, Stress
from tests.unit.agent.machine import Box, Machine, entry, machine, spot

__all__ = ["machine"]

MB = 1 << 20
NONE_V1 = "9223372036854771712"
A, B = spot("a"), spot("b")


class Groups:
    """The cgroups of nodes as folders; a kernel of version 1 refuses less memory and swap than memory."""

    def __init__(self, folder: Path, is_unified: bool) -> None:
        self.folder = folder
        self.is_unified = is_unified

    def make(self, container: str, used: int = 3 * MB) -> None:
        files = (
            {
                "cpu.max": "max 100000",
                "memory.max": "max",
                "memory.swap.max": "max",
                "memory.current": str(used + 5 * MB),
                "memory.stat": f"anon {used}\nactive_file {2 * MB}\ninactive_file {3 * MB}",
            }
            if self.is_unified
            else {
                "cpu.cfs_quota_us": "-1",
                "cpu.cfs_period_us": "100000",
                "memory.limit_in_bytes": NONE_V1,
                "memory.memsw.limit_in_bytes": NONE_V1,
                "memory.usage_in_bytes": str(used + 5 * MB),
                "memory.stat": f"total_rss {used}\ntotal_active_file {2 * MB}\ntotal_inactive_file {3 * MB}",
            }
        )
        (self.folder / container).mkdir(exist_ok=True)
        for name, text in files.items():
            (self.folder / container / name).write_bytes(f"{text}\n".encode())

    def read(self, container: str, *names: str) -> list[str]:
        return [(self.folder / container / name).read_text().strip() for name in names]

    def limits(self, container: str = "id-a") -> list[str]:
        names = (
            ("cpu.max", "memory.max", "memory.swap.max")
            if self.is_unified
            else ("cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        )
        return self.read(container, *names)


@pytest.fixture(params=[False, True], ids=["v1", "v2"])
def groups(
    request: pytest.FixtureRequest, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Groups]:
    made = Groups(tmp_path, request.param)
    made.make("id-a")
    made.make("id-b")
    monkeypatch.setattr(nodes, "is_unified", lambda: made.is_unified)
    monkeypatch.setattr(
        nodes, "cgroup", lambda container, _: tmp_path / container if container in machine.containers else None
    )
    monkeypatch.setattr(resource, "_available", lambda: 8 << 30)
    write = Path.write_text

    def as_a_kernel(path: Path, text: str, *args: Any, **more: Any) -> int:
        if path.name.startswith("memory.") and path.name.endswith("limit_in_bytes"):
            now = {name: int(made.read(path.parent.name, name)[0]) for name in resource._MEMORY_V1}
            now[path.name] = int(text)
            if now["memory.memsw.limit_in_bytes"] < now["memory.limit_in_bytes"]:
                raise OSError(errno.EINVAL, "Invalid argument")
        return write(path, text, *args, **more)

    monkeypatch.setattr(Path, "write_text", as_a_kernel)
    yield made
    assert made.limits("id-b") == (
        ["max 100000", "max", "max"] if made.is_unified else ["-1", "100000", *[NONE_V1] * 2]
    )


def _made(kind: Kind, box: Box, *given: dict[str, str], **args: object) -> Entry:
    made = entry(box, kind.name, {"nodes": list(given), **args})
    box.all.remove(made)
    made.before = kind.look(made)
    box.all.append(made)
    kind.make(made)
    return made


def _ended(kind: Kind, box: Box, made: Entry) -> None:
    if made in box.all:
        box.all.remove(made)
    kind.undo(made)


def _quota(groups: Groups) -> str:
    return groups.limits()[0].split()[0]


def _memory(groups: Groups) -> list[str]:
    return groups.limits()[-2:]


def test_cpu_is_limited_and_put_back(groups: Groups) -> None:
    before = groups.limits()
    box = Box()
    kind = Cpu(box)
    made = _made(kind, box, A, share=0.1)
    assert groups.limits()[:1] == (["10000 100000"] if groups.is_unified else ["10000"])
    _ended(kind, box, made)
    _ended(kind, box, made)
    assert groups.limits() == before


def test_memory_is_limited_and_put_back(groups: Groups) -> None:
    before = groups.limits()
    box = Box()
    kind = Memory(box)
    made = _made(kind, box, A, limit=64 * MB)
    assert _memory(groups) == [str(64 * MB), "0" if groups.is_unified else str(64 * MB)]
    _ended(kind, box, made)
    _ended(kind, box, made)
    assert groups.limits() == before


def test_a_limit_of_the_nodes_own_comes_back(groups: Groups) -> None:
    folder = groups.folder / "id-a"
    own = {"cpu.max": "50000 200000"} if groups.is_unified else {"cpu.cfs_quota_us": "50000"}
    for name, text in own.items():
        (folder / name).write_text(text)
    before = groups.limits()
    box = Box()
    kind = Cpu(box)
    made = _made(kind, box, A, share=0.1)
    assert _quota(groups) == ("20000" if groups.is_unified else "10000")
    _ended(kind, box, made)
    assert groups.limits() == before
    with pytest.raises(Refused, match=r"cache-a never has more than \d+% of a core"):
        _made(kind, box, A, share=0.9)


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_limits_the_smaller_is_in_force(groups: Groups, first: int) -> None:
    before = groups.limits()
    box = Box()
    kind = Memory(box)
    limits = [100 * MB, 50 * MB]
    both = [_made(kind, box, A, limit=limit) for limit in limits]
    assert _memory(groups)[0] == str(50 * MB)
    _ended(kind, box, both[first])
    assert _memory(groups)[0] == str(limits[1 - first])
    _ended(kind, box, both[1 - first])
    assert groups.limits() == before


def test_a_node_that_is_started_again_is_limited_again(groups: Groups, machine: Machine) -> None:
    before = groups.limits()
    box = Box()
    kind = Cpu(box)
    made = _made(kind, box, A, share=0.2)
    machine.kill(10, 9)
    kind.keep(made)
    groups.make("id-a")
    machine.start("id-a", 10, 11)
    kind.keep(made)
    assert _quota(groups) == "20000"
    _ended(kind, box, made)
    assert groups.limits() == before


def test_a_node_that_died_or_was_made_anew_has_nothing_to_be_put_back(groups: Groups, machine: Machine) -> None:
    box = Box()
    kind = Cpu(box)
    made = _made(kind, box, A, share=0.2)
    machine.kill(10, 9)
    (groups.folder / "id-a" / "cpu.max").unlink(missing_ok=True)
    kind.keep(made)
    _ended(kind, box, made)
    assert box.all == []


def test_what_does_not_fit_is_refused(groups: Groups) -> None:
    """What the kernel can take back, the cache of files, need not fit."""
    box = Box()
    kind = Memory(box)
    with pytest.raises(Refused, match="cache-a uses 3MB of memory: 6MB would kill it") as refused:
        _made(kind, box, A, limit=6 * MB)
    assert refused.value.mend == 'write 11MB or more, or use "oom-kill" to have it killed'
    with pytest.raises(Refused, match="would not feel it: this machine itself has 8192MB left"):
        _made(kind, box, A, limit=5 << 30)
    assert _memory(groups)[0] in ("max", NONE_V1)


def test_what_the_kernel_cannot_take_back_is_refused_in_words(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Memory, "_write", busy)
    with pytest.raises(Refused, match="more memory is in use than that") as refused:
        _made(Memory(box := Box()), box, A, limit=64 * MB)
    assert refused.value.mend == 'use "oom-kill"'


def test_nodes_without_a_limit_are_those_to_compare_with(groups: Groups) -> None:
    box = Box()
    kind = Cpu(box)
    assert _made(kind, box, A, share=0.5, beside=[B, spot("c")]).before["unlimited"] == ["cache-b"]
    assert _made(kind, box, B, share=0.5, beside=[A]).before["unlimited"] == []
    for made in list(box.all):
        _ended(kind, box, made)


class Works:
    """Writes down which works run."""

    def __init__(self) -> None:
        self.running: dict[tuple[str, str], tuple[int, str, dict[str, object]]] = {}

    def keep(self, entry: str, place: str, count: int, work: str, **args: object) -> None:
        self.running[entry, place] = count, work, args

    def end(self, entry: str) -> None:
        self.running = {key: work for key, work in self.running.items() if key[0] != entry}


def test_the_kernel_is_to_kill_the_service(groups: Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = groups.limits()
    monkeypatch.setattr(resource, "_score", lambda pid: tmp_path / f"score-{pid}")
    (tmp_path / "score-11").write_text("0")
    box, works = Box(), Works()
    kind = Memory(box)
    monkeypatch.setattr(kind, "_works", works)
    made = _made(kind, box, A, limit=None)
    assert (tmp_path / "score-11").read_text() == "1000"
    assert _memory(groups)[0] == str(3 * MB + ROOM)
    procs = str(groups.folder / "id-a" / "cgroup.procs")
    assert works.running == {(made.id, "id-a"): (1, "fill", {"procs": procs, "node": 11, "size": 2 * ROOM})}
    _ended(kind, box, made)
    assert (tmp_path / "score-11").read_text() == "0"
    assert groups.limits() == before
    assert works.running == {}


def test_who_was_killed_may_live_again(
    groups: Groups, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = groups.limits()
    monkeypatch.setattr(resource, "_score", lambda pid: tmp_path / f"score-{pid}")
    (tmp_path / "score-11").write_text("0")
    box, works = Box(), Works()
    kind = Memory(box)
    monkeypatch.setattr(kind, "_works", works)
    made = _made(kind, box, A, limit=None)
    machine.kill(10, 9)
    groups.make("id-a")
    machine.start("id-a", 10, 11)
    (tmp_path / "score-11").write_text("7")
    works.running.clear()
    kind.keep(made)
    assert groups.limits() == before
    assert works.running == {}
    _ended(kind, box, made)
    assert (tmp_path / "score-11").read_text() == "7"


def test_stress_is_made_again_where_a_node_runs(groups: Groups, machine: Machine, monkeypatch: Any) -> None:
    box, works = Box(), Works()
    kind = Stress(box)
    monkeypatch.setattr(kind, "_works", works)
    made = _made(kind, box, A, B, workers=2)
    assert {key[1]: work[:2] for key, work in works.running.items()} == {"id-a": (2, "burn"), "id-b": (2, "burn")}
    works.running.clear()
    machine.kill(10, 9)
    kind.keep(made)
    assert [key[1] for key in works.running] == ["id-b"]
    _ended(kind, box, made)
    assert works.running == {}


def test_works_end_when_they_are_told(tmp_path: Path) -> None:
    works = resource.Works()
    args = {"procs": str(tmp_path / "procs"), "node": os.getpid()}
    works.keep("stress-1", "id-a", 2, "burn", **args)
    works.keep("stress-1", "id-a", 2, "burn", **args)
    begun = works._running["stress-1", "id-a"]
    assert len(begun) == 2
    works.end("stress-1")
    assert [one.wait(10) for one in begun] == [-9, -9]
    assert works._running == {}
