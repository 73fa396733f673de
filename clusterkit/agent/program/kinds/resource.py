"""L5. Less CPU and memory for nodes: limits of their cgroups, and works of ours inside them.

A limit is put back as it was found. A container that is started again has a new cgroup with the limits it was made
with, which are those that were found: so what was found holds for all its lives.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import nodes
from ..entry import Entry
from ..kind import Box, Kind, Refused
from .process import Life, alive, life_of, running

Files = dict[str, str]
"""Name of a file in a cgroup -> its text, in the order in which they are written to lower a limit."""

SMALLEST_QUOTA_US = 1000
"""Of CPU time in a period. Source: Documentation/scheduler/sched-bwc.rst."""

MARGIN = 4 << 20
"""What a node must have left below a limit of its memory, in bytes."""

ROOM = 64 << 20
"""How much more than it has a node may take before the kernel kills it: far more than the work that fills it is."""

_SCRATCH = Path("/var/lib/clusterkit/scratch")
_WORKER = Path(__file__).parent.parent / "worker.py"
_ANSWER_SECONDS = 15.0
_KILL_ME_FIRST = "1000"
_GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH)
"""What the system says of a node that has just ended."""


class _Limit(Kind):
    """`args`: `nodes`, `beside`, and what a subclass takes.

    `before`: `was`, the files as they were, by node name, of those nodes that ran; `unlimited`, the names of those
    of `beside` that have no limit.
    """

    controller = ""

    def read(self, folder: Path) -> Files:
        raise NotImplementedError

    def lowered(self, was: Files, entry: Entry, name: str) -> Files:
        """What the files of a node have to say for this entry; never a higher limit than `was`."""
        raise NotImplementedError

    def amount(self, files: Files) -> float:
        """The limit that files say; infinity where they say none."""
        raise NotImplementedError

    def look(self, entry: Entry) -> dict[str, Any]:
        names = running(entry.args["nodes"], entry.fault)
        was = {node["name"]: self._found(node) for node in entry.args["nodes"] if node["name"] in names}
        return {
            "was": {name: files for name, files in was.items() if files},
            "unlimited": [
                node["name"]
                for node in entry.args["beside"]
                if (files := self._now(node)) and self.amount(files) == float("inf")
            ],
        }

    def make(self, entry: Entry) -> None:
        for node in self._looked_at(entry):
            self._apply(node)

    def keep(self, entry: Entry) -> None:
        self.make(entry)

    def undo(self, entry: Entry) -> None:
        for node in self._looked_at(entry):
            self._apply(node, entry.before["was"][node["name"]])

    def holds(self, _entry: Entry, _node: Mapping[str, str]) -> bool:
        """Whether the entry limits this life of a node."""
        return True

    def _looked_at(self, entry: Entry) -> Iterator[Mapping[str, str]]:
        return (node for node in entry.args["nodes"] if node["name"] in entry.before["was"])

    def _holding(self, node: Mapping[str, str]) -> list[Entry]:
        return [
            entry
            for entry in self.box.entries(self.name)
            if node["id"] in (one["id"] for one in entry.args["nodes"]) and node["name"] in entry.before.get("was", {})
        ]

    def _now(self, node: Mapping[str, str]) -> Files | None:
        folder = nodes.cgroup(node["id"], self.controller)
        return None if folder is None else self.read(folder)

    def _found(self, node: Mapping[str, str]) -> Files | None:
        """The files as they were before any fault of ours."""
        for other in self._holding(node):
            files: Files = other.before["was"][node["name"]]
            return files
        return self._now(node)

    def _apply(self, node: Mapping[str, str], was: Files | None = None) -> None:
        """The lowest limit that any entry in force wants, or what was before where none does."""
        holding = [entry for entry in self._holding(node) if self.holds(entry, node)]
        found = [self.lowered(entry.before["was"][node["name"]], entry, node["name"]) for entry in holding]
        wanted = min(found, key=self.amount, default=was)
        folder = nodes.cgroup(node["id"], self.controller)
        if folder is None or wanted is None:
            return
        try:
            self._write(folder, wanted)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def _write(self, folder: Path, wanted: Files) -> None:
        now = self.read(folder)
        if now == wanted:
            return
        is_lower = self.amount(wanted) < self.amount(now)
        for name in wanted if is_lower else reversed(wanted):
            if wanted[name] != now[name]:
                (folder / name).write_text(wanted[name])


class Cpu(_Limit):
    """`share`: of one core, 0.1 is a tenth."""

    name = "cpu"
    controller = "cpu"

    def trial(self) -> str:
        return _has(self.controller, "cpu.max", "cpu.cfs_quota_us")

    def read(self, folder: Path) -> Files:
        return _read(folder, ("cpu.max",) if nodes.is_unified() else ("cpu.cfs_period_us", "cpu.cfs_quota_us"))

    def amount(self, files: Files) -> float:
        quota, period = _quota(files)
        return float("inf") if quota is None else quota / period

    def look(self, entry: Entry) -> dict[str, Any]:
        found = super().look(entry)
        for name, was in found["was"].items():
            if self.amount(was) <= entry.args["share"]:
                raise Refused(f"{name} never has more than {self.amount(was):.0%} of a core", "write less")
        return found

    def lowered(self, was: Files, entry: Entry, _name: str) -> Files:
        _, period = _quota(was)
        quota = max(SMALLEST_QUOTA_US, round(entry.args["share"] * period))
        if "cpu.max" in was:
            return {"cpu.max": f"{quota} {period}"}
        return {**was, "cpu.cfs_quota_us": str(quota)}


class Memory(_Limit):
    """`limit` in bytes; None: the node's service is to be killed by the kernel, for the want of memory.

    For the latter, the node gets a limit a little above what it has, its service becomes the first to be killed, and a
    work of ours takes what is left. `before` has `limits` in bytes, by node name, and then also `mains`, `beside` and
    `firsts`, lives by node name, and `scores`, what made the service more or less likely to be killed.
    """

    name = "memory"
    controller = "memory"

    def __init__(self, box: Box) -> None:
        super().__init__(box)
        self._works = Works()

    def trial(self) -> str:
        return _has(self.controller, "memory.max", "memory.limit_in_bytes")

    def read(self, folder: Path) -> Files:
        names = ("memory.max", "memory.swap.max") if nodes.is_unified() else _MEMORY_V1
        return _read(folder, tuple(name for name in names if (folder / name).exists()))

    def amount(self, files: Files) -> float:
        text = next(iter(files.values()))
        return float("inf") if text == "max" or int(text) >= 1 << 60 else int(text)

    def look(self, entry: Entry) -> dict[str, Any]:
        found = super().look(entry)
        limit = entry.args["limit"]
        by_name = {node["name"]: node for node in entry.args["nodes"]}
        if limit is not None:
            for name, was in found["was"].items():
                _refuse(name, limit, self.amount(was), self._used(by_name[name]))
            return {**found, "limits": dict.fromkeys(found["was"], limit)}
        lives = alive(entry.args["nodes"])
        return {
            **found,
            "beside": alive(entry.args["beside"]),
            "limits": {name: self._used(by_name[name]) + ROOM for name in found["was"]},
            "mains": lives,
            "firsts": {name: life_of(nodes.init(by_name[name]["id"])) for name in lives},
            "scores": {name: _score(life[0]).read_text().strip() for name, life in lives.items()},
        }

    def lowered(self, was: Files, entry: Entry, name: str) -> Files:
        limit = min(entry.before["limits"][name], self.amount(was))
        texts = {name: str(limit) for name in was}
        if "memory.swap.max" in was:
            texts["memory.swap.max"] = "0"
        return texts if limit < self.amount(was) else was

    def holds(self, entry: Entry, node: Mapping[str, str]) -> bool:
        """Who was killed may live again."""
        if entry.args["limit"] is not None:
            return True
        return bool(life_of(nodes.init(node["id"])) == entry.before["firsts"].get(node["name"]))

    def make(self, entry: Entry) -> None:
        try:
            super().make(entry)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise Refused(f"{', '.join(entry.nodes)}: more memory is in use than that", 'use "oom-kill"') from error
        if entry.args["limit"] is None:
            self._fill(entry)

    def undo(self, entry: Entry) -> None:
        self._works.end(entry.id)
        for name, life in entry.before.get("mains", {}).items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it was killed, as it should be
                if life_of(life[0]) == life:
                    _score(life[0]).write_text(entry.before["scores"][name])
        super().undo(entry)

    def _fill(self, entry: Entry) -> None:
        """Once more where the work was killed in place of the service."""
        for node in self._looked_at(entry):
            life: Life = entry.before["mains"].get(node["name"], [0, 0])
            folder = nodes.cgroup(node["id"], self.controller)
            if folder is None or life_of(life[0]) != life:
                continue
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                _score(life[0]).write_text(_KILL_ME_FIRST)
                size = ROOM * 2
                self._works.keep(entry.id, node["id"], 1, "fill", procs=_procs(folder), node=life[0], size=size)

    def _used(self, node: Mapping[str, str]) -> int:
        """Bytes that the kernel cannot take back: all but the cache of files."""
        folder = nodes.cgroup(node["id"], self.controller)
        if folder is None:
            return 0
        used = int((folder / ("memory.current" if nodes.is_unified() else "memory.usage_in_bytes")).read_text())
        counted = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        prefix = "" if nodes.is_unified() else "total_"
        return max(0, used - sum(int(counted.get(f"{prefix}{name}_file", 0)) for name in ("active", "inactive")))


class Stress(Kind):
    """`args`: `nodes`, `beside`, `workers`: so many busy processes in each node's cgroup, under its limit.

    `before`: `mains`, the lives of the services of the nodes that ran, by node name.
    """

    name = "stress"

    def __init__(self, box: Box) -> None:
        super().__init__(box)
        self._works = Works()

    def trial(self) -> str:
        return _has("cpu", "cpu.max", "cpu.cfs_quota_us")

    def look(self, entry: Entry) -> dict[str, Any]:
        return {"mains": running(entry.args["nodes"], entry.fault)}

    def make(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            first, folder = nodes.init(node["id"]), nodes.cgroup(node["id"], "cpu")
            if first is not None and folder is not None:
                workers = int(entry.args["workers"])
                self._works.keep(entry.id, node["id"], workers, "burn", procs=_procs(folder), node=first)

    def keep(self, entry: Entry) -> None:
        self.make(entry)

    def undo(self, entry: Entry) -> None:
        self._works.end(entry.id)


class Works:
    """Processes of worker.py that run for entries. They end with us: their stdin closes then."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], list[subprocess.Popen[bytes]]] = {}

    def keep(self, entry: str, place: str, count: int, work: str, **args: Any) -> None:
        """Starts as many as are missing."""
        left = [one for one in self._running.get((entry, place), []) if one.poll() is None]
        while len(left) < count:
            left.append(begin(work, stdout=subprocess.DEVNULL, **args))
        self._running[entry, place] = left

    def end(self, entry: str) -> None:
        for key in [key for key in self._running if key[0] == entry]:
            for one in self._running.pop(key):
                one.kill()
                threading.Thread(target=_bury, args=(one,), daemon=True).start()  # with little CPU it dies slowly


def begin(work: str, *, stdout: int, **args: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-IS", str(_WORKER), work, json.dumps(args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout)


def work(args: Mapping[str, Any]) -> list[float | None]:
    """How much CPU time each of `nodes` gets: cores, 0.5 is half of one, of `workers` busy ones.

    One node after another, `seconds` each. An `id` of "" is the agent's own place. None: the node does not run.
    """
    found: list[float | None] = []
    for node in args["nodes"]:
        place = _place(node, "cpu")
        if place is None:
            found.append(None)
            continue
        seconds = float(args.get("seconds", 0.4))
        works = [
            begin("work", stdout=subprocess.PIPE, **place, seconds=seconds) for _ in range(int(args.get("workers", 1)))
        ]
        found.append(_sum([_answer(one) for one in works]))
    return found


def hold(args: Mapping[str, Any]) -> list[int | None]:
    """How many of `size` bytes that were read into each of `nodes` stay there; else as `work`."""
    _SCRATCH.mkdir(exist_ok=True)
    home = _procs(_own("memory"))
    found: list[int | None] = []
    for number, node in enumerate(args["nodes"]):
        place = _place(node, "memory")
        if place is None:
            found.append(None)
            continue
        path = _SCRATCH / f"hold-{os.getpid()}-{threading.get_ident()}-{number}"
        asked = begin("hold", stdout=subprocess.PIPE, **place, home=home, path=str(path), size=int(args["size"]))
        answer = _answer(asked)
        found.append(None if answer is None else int(answer))
    return found


_START_SECONDS = 0.1


def strain(args: Mapping[str, Any]) -> list[float | None]:
    """How many cores works of ours take in each of `nodes`, over `wait_s` seconds. None: the node does not run."""
    wait = float(args.get("wait_s", 0.5))
    folders = [nodes.cgroup(node["id"], "cpu") for node in args["nodes"]]
    threading.Event().wait(_START_SECONDS)  # a work that has just begun still joins the node's group
    begun = [_strain(folder) for folder in folders]
    threading.Event().wait(wait)
    then = [_strain(folder) for folder in folders]
    ticks = os.sysconf("SC_CLK_TCK")
    return [
        None if folder is None else sum(now - first.get(pid, now) for pid, now in last.items()) / ticks / wait
        for folder, first, last in zip(folders, begun, then, strict=True)
    ]


def _strain(folder: Path | None) -> dict[int, int]:
    """pid -> CPU time in ticks, of those processes in a cgroup that are no processes of its container."""
    found: dict[int, int] = {}
    if folder is None:
        return found
    ours = os.readlink("/proc/self/ns/pid")
    with contextlib.suppress(OSError):  # the node has just ended
        for pid in map(int, (folder / "cgroup.procs").read_text().split()):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") == ours:
                    fields = nodes.stat(pid)
                    found[pid] = int(fields[11]) + int(fields[12])
    return found


def _place(node: Mapping[str, str], controller: str) -> dict[str, Any] | None:
    """Where a work is done, and the process with which it ends."""
    if not node["id"]:
        return {"procs": _procs(_own(controller)), "node": os.getpid()}
    first, folder = nodes.init(node["id"]), nodes.cgroup(node["id"], controller)
    return None if first is None or folder is None else {"procs": _procs(folder), "node": first}


def _own(controller: str) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") or (names == "" and nodes.is_unified()):
            return nodes.CGROUPS / ("" if nodes.is_unified() else controller) / path.lstrip("/")
    raise Refused(f"this machine has no cgroups that limit {controller}")


def _answer(asked: subprocess.Popen[bytes]) -> float | None:
    """None: it ended early, as its node did, or was held up: its node may be frozen."""
    assert asked.stdout is not None
    assert asked.stdin is not None
    with asked.stdin, asked.stdout:
        ready, _, _ = select.select([asked.stdout], [], [], _ANSWER_SECONDS)
        if not ready:
            asked.kill()
        said = asked.stdout.read() if ready else b""
    asked.wait()
    return float(said) if said.strip() else None


def _sum(found: list[float | None]) -> float | None:
    whole = [one for one in found if one is not None]
    return sum(whole) if whole else None


def _bury(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    child.wait()


def _procs(folder: Path) -> str:
    return str(folder / "cgroup.procs")


def _score(pid: int) -> Path:
    """Source: proc(5)."""
    return Path(f"/proc/{pid}/oom_score_adj")


def _refuse(name: str, limit: int, has: float, used: int) -> None:
    if limit >= has:
        raise Refused(f"{name} never has more than {_words(has)} of memory", "write less")
    if limit < used + MARGIN:
        mend = f'write {_words(used + 2 * MARGIN)} or more, or use "oom-kill" to have it killed'
        raise Refused(f"{name} uses {_words(used)} of memory: {_words(limit)} would kill it", mend)
    if limit >= _available() / 2:
        raise Refused(f"{name} would not feel it: this machine itself has {_words(_available())} left", "write less")


def _words(size: float) -> str:
    return f"{size / 2**20:.0f}MB"


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _quota(files: Files) -> tuple[int | None, int]:
    """CPU time in a period (None: all of it), and the period, both in us."""
    quota, period = files["cpu.max"].split() if "cpu.max" in files else reversed(files.values())
    return None if quota in ("max", "-1") else int(quota), int(period)


def _read(folder: Path, names: tuple[str, ...]) -> Files:
    return {name: (folder / name).read_text().strip() for name in names}


def _has(controller: str, unified: str, split: str) -> str:
    """ "" where limits of this kind can be set."""
    folder = _own(controller)
    file = folder / (unified if nodes.is_unified() else split)
    return "" if os.access(file, os.W_OK) else f"the kernel's cgroups have no {file.name}"


_MEMORY_V1 = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")

KINDS = (Cpu, Memory, Stress)
CALLS = {"work": work, "hold": hold, "strain": strain}
