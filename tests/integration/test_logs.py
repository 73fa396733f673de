"""Logs of real containers: every line from the first, none lost or doubled, in order, across kills and restarts."""

from __future__ import annotations

import io
import itertools
import json
import secrets
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from docker.types import LogConfig

from clusterkit.components.base import LogFormat
from clusterkit.errors import NodeUnreachable
from clusterkit.journal import Journal
from clusterkit.logs import query
from clusterkit.logs.archive import archive
from clusterkit.logs.entry import LogEntry
from clusterkit.logs.follow import Wanted, follow
from clusterkit.providers.base import NodeRecord
from clusterkit.providers.docker import CLUSTER, DockerProvider

LIMIT = 90
HALF = 5000

COUNT = f"""
n=$(cat /count 2>/dev/null || echo 0); echo $((n + {HALF})) > /count
last=$((n + {HALF})); while [ $n -lt $last ]; do n=$((n + 1)); echo "line $n"; done
exec sleep 1000
"""
"""Writes lines 1 to 5000, and the next 5000 when it is started again."""

RUNS = """
run=$(cat /run_number 2>/dev/null || echo 0); run=$((run + 1)); echo $run > /run_number
n=0; while :; do n=$((n + 1)); echo "run $run line $n"; [ $((n % 500)) = 0 ] && sleep 0.02; done
"""
"""Writes without an end, from 1 again in each run: some ten thousand lines a second."""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A shell and little else: one static program, taken from the machine or from its package source."""
    folder = tmp_path_factory.mktemp("busybox")
    found = shutil.which("busybox")
    if found is None or subprocess.run(["ldd", found], capture_output=True, check=False).returncode == 0:  # not static
        subprocess.run(["apt-get", "download", "-qq", "busybox-static"], cwd=folder, check=True)
        subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
        found = str(next(path for path in folder.rglob("bin/busybox")))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        home = tarfile.TarInfo("bin")
        home.type, home.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(home)
        tar.add(Path(found).resolve(), "bin/busybox")
        for name in ("sh", "cat", "echo", "head", "printf", "sleep", "tr"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    client, tag = DockerProvider().client, secrets.token_hex(4)
    client.import_image_from_data(packed.getvalue(), repository="clusterkit-test-logs", tag=tag)
    yield f"clusterkit-test-logs:{tag}"
    client.remove_image(f"clusterkit-test-logs:{tag}", force=True)


@dataclass
class Nodes:
    """Containers with a cluster's labels, each with a shell script as its main process."""

    cluster: str
    image: str
    folder: Path
    provider: DockerProvider = field(default_factory=DockerProvider)

    def make(self, name: str, script: str, *, tty: bool = False) -> NodeRecord:
        component, _, index = name.rpartition("-")
        labels = {
            CLUSTER: self.cluster,
            "clusterkit.component": component,
            "clusterkit.node": name,
            "clusterkit.kind": "service",
            "clusterkit.zone": "abc"[(int(index) - 1) % 3],
            "clusterkit.index": index,
            "clusterkit.address": "",
            "clusterkit.host_ports": "{}",
            "clusterkit.parts": "{}",
        }
        client = self.provider.client
        config: dict[str, Any] = client.create_host_config(log_config=LogConfig(type="json-file", config={}))
        made = client.create_container(
            self.image,
            ["/bin/sh", "-c", script],
            labels=labels,
            tty=tty,
            host_config=config,
            name=f"{self.cluster}-{name}",
        )
        client.start(made["Id"])
        return self.node(name)

    def node(self, name: str) -> NodeRecord:
        record = self.provider.find(self.cluster)
        found = record.node(name) if record else None
        assert found is not None
        return found

    def wait(self, record: NodeRecord) -> None:
        self.provider.client.wait(record.runtime_id, timeout=LIMIT)

    def again(self, record: NodeRecord) -> None:
        """SIGKILL and start: as hard as a restart can be."""
        self.provider.client.restart(record.runtime_id, timeout=0)

    def texts(self, record: NodeRecord) -> list[str]:
        return [line.text for line in self.provider.logs(record)]

    def wanted(self) -> Wanted:
        return Wanted(self.cluster, (self.folder,), lambda _kind: LogFormat())

    def timeline(self) -> list[LogEntry]:
        record = self.provider.find(self.cluster)
        scope = query.Scope(self.cluster, record, (self.folder,), lambda _kind: LogFormat())
        return list(query.read(self.provider, scope, query.Filter()))


@pytest.fixture
def nodes(cluster_name: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Nodes(cluster_name, image, tmp_path)


class Following:
    """Follows in a thread of its own; node name -> texts, in the order they came."""

    def __init__(self, nodes: Nodes) -> None:
        self.seen: dict[str, list[str]] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._entries = follow(nodes.provider, nodes.wanted(), poll=0.1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with closing(self._entries) as entries:
            for entry in entries:
                with self._changed:
                    self.seen.setdefault(entry.node, []).append(entry.text)
                    self._changed.notify_all()
                if self._stop.is_set():
                    return

    def until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            met = self._changed.wait_for(condition, LIMIT)
        assert met, {name: (len(texts), texts[-1:]) for name, texts in self.seen.items()}

    def last(self, node: str) -> str:
        return self.seen.get(node, [""])[-1]

    def count(self) -> int:
        return sum(map(len, self.seen.values()))

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def following(nodes: Nodes) -> Iterator[Callable[[], Following]]:
    made: list[Following] = []

    def begin() -> Following:
        made.append(Following(nodes))
        return made[-1]

    yield begin
    for each in made:
        each.stop()


def _numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(1, count + 1)]


def test_three_writers_across_a_restart_and_three_followers(nodes: Nodes, following: Callable[[], Following]) -> None:
    before = following()
    records = [nodes.make(f"w-{number}", COUNT) for number in (1, 2, 3)]
    during = following()
    before.until(lambda: before.count() >= 3 * HALF)
    for record in records:
        nodes.again(record)
    before.until(lambda: before.count() >= 6 * HALF)
    during.until(lambda: during.count() >= 6 * HALF)
    after = following()
    after.until(lambda: after.count() >= 6 * HALF)
    for each in (before, during, after):
        assert each.seen == {f"w-{number}": _numbered(2 * HALF) for number in (1, 2, 3)}
    merged = nodes.timeline()
    assert len(merged) == 6 * HALF
    assert [entry.time_ns for entry in merged] == sorted(entry.time_ns for entry in merged)
    for number in (1, 2, 3):
        assert [entry.text for entry in merged if entry.node == f"w-{number}"] == _numbered(2 * HALF)


def test_a_killed_writer_is_followed_to_its_last_line_in_every_run(
    nodes: Nodes, following: Callable[[], Following]
) -> None:
    follower = following()
    record = nodes.make("w-1", RUNS)
    for run in (1, 2, 3, 4):
        follower.until(partial(lambda run: follower.last("w-1").startswith(f"run {run} "), run))
        nodes.again(record)
    nodes.provider.client.kill(record.runtime_id)
    truth = nodes.texts(record)
    follower.until(lambda: len(follower.seen["w-1"]) >= len(truth))
    assert follower.seen["w-1"] == truth
    runs = {run: [int(t.split()[3]) for t in each] for run, each in itertools.groupby(truth, lambda t: t.split()[1])}
    assert {"1", "2", "3", "4"} <= set(runs)
    for run, numbers in runs.items():
        whole = numbers[:-1]  # the last line of a run may be cut by the kill
        assert whole == list(range(1, len(whole) + 1)), run


def test_a_node_made_anew_is_followed_into_its_next_life(nodes: Nodes, following: Callable[[], Following]) -> None:
    nodes.provider.create_network(nodes.cluster, "")
    follower = following()
    old = nodes.make("w-1", "echo old 1; sleep 0.2; echo old 2; exec sleep 1000")
    follower.until(lambda: follower.count() >= 1)
    nodes.provider.node(old).kill()
    assert archive(nodes.provider, [old], nodes.folder, Journal()) >= 1
    nodes.provider.remove(old, data=True)
    new = nodes.make("w-1", "echo new 1; exec sleep 1000")
    follower.until(lambda: "new 1" in follower.seen["w-1"])
    assert follower.seen["w-1"] == [text for text in ("old 1", "old 2", "new 1") if text in follower.seen["w-1"]]
    assert [entry.text for entry in nodes.timeline()] == follower.seen["w-1"]
    assert new.runtime_id != old.runtime_id


def test_first_and_last_words(nodes: Nodes) -> None:
    record = nodes.make("w-1", "echo first; echo to stderr >&2; echo; printf 'no newline at the end'")
    nodes.wait(record)
    assert sorted(nodes.texts(record)) == sorted(["first", "to stderr", "", "no newline at the end"])
    nodes.again(record)
    nodes.wait(record)
    assert [line.text for line in nodes.provider.logs(record) if line.stream == "stdout"] == [
        *("first", "", "no newline at the end"),
        *("first", "", "no newline at the end"),
    ]
    assert [line.stream for line in nodes.provider.logs(record) if "stderr" in line.text] == ["stderr", "stderr"]


def test_lines_written_just_before_the_end(nodes: Nodes) -> None:
    records = [
        nodes.make(f"w-{number}", "n=0; while [ $n -lt 300 ]; do n=$((n + 1)); echo line $n; done; kill -9 $$")
        for number in range(1, 6)
    ]
    for record in records:
        nodes.wait(record)
        assert nodes.texts(record) == _numbered(300)


def test_a_line_of_100_kilobytes_is_one_line(nodes: Nodes) -> None:
    script = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo after; head -c 16384 /dev/zero | tr '\\0' y; echo"
    record = nodes.make("w-1", script)
    nodes.wait(record)
    assert nodes.texts(record) == ["x" * 100_000, "after", "y" * 16384]


def test_bytes_that_are_no_text(nodes: Nodes) -> None:
    record = nodes.make("w-1", r"printf 'a\377\376b\r\n\000\001\n'; head -c 20000 /dev/urandom; printf '\nend\n'")
    nodes.wait(record)
    texts = nodes.texts(record)
    assert texts[0] == "a��b"
    assert texts[1] == "\x00\x01"
    assert texts[-1] == "end"


def test_a_terminal(nodes: Nodes) -> None:
    record = nodes.make("w-1", "echo one; echo two >&2; head -c 40000 /dev/zero | tr '\\0' x; echo; echo end", tty=True)
    nodes.wait(record)
    assert nodes.texts(record) == ["one", "two", "x" * 40_000, "end"]


def test_since_is_exact_to_the_nanosecond(nodes: Nodes) -> None:
    record = nodes.make("w-1", "n=0; while [ $n -lt 200 ]; do n=$((n + 1)); echo line $n; done")
    nodes.wait(record)
    lines = list(nodes.provider.logs(record))
    for at in (0, 1, 100, 199):
        since = lines[at].time_ns
        assert list(nodes.provider.logs(record, since)) == [line for line in lines if line.time_ns >= since]
        assert list(nodes.provider.logs(record, since + 1)) == [line for line in lines if line.time_ns > since]
    assert list(nodes.provider.logs(record, lines[-1].time_ns + 1)) == []


def test_closing_ends_a_reader_that_waits_in_another_thread(nodes: Nodes) -> None:
    record = nodes.make("w-1", "echo one; exec sleep 1000")
    lines = nodes.provider.logs(record, follow=True)
    assert next(lines).text == "one"
    rest: list[Any] = []
    reader = threading.Thread(target=lambda: rest.extend(lines))
    reader.start()
    time.sleep(0.2)
    lines.close()  # type: ignore[attr-defined]  # a LogReader
    reader.join(LIMIT)
    assert not reader.is_alive()
    assert rest == []


def test_a_log_that_is_gone_and_one_not_begun(nodes: Nodes) -> None:
    record = nodes.make("w-1", "exec sleep 1000")
    assert nodes.texts(record) == []
    nodes.provider.remove(record, data=True)
    with pytest.raises(NodeUnreachable, match="is gone"):
        nodes.provider.logs(record)
    assert archive(nodes.provider, [record], nodes.folder, Journal()) == 0


def _run(nodes: Nodes, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clusterkit", "logs", "--name", nodes.cluster, *words],
        cwd=nodes.folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_the_command(nodes: Nodes) -> None:
    nodes.make("api-1", "echo 'INFO up'; echo 'ERROR broken'; echo '    at main'; exec sleep 1000")
    nodes.make("db-2", "echo ready trace_id=7f3c; exec sleep 1000")
    time.sleep(0.5)
    shown = _run(nodes)
    assert shown.returncode == 0, shown.stderr
    assert [line[13:] for line in shown.stdout.splitlines()] == [
        "api-1      INFO up",
        "api-1      ERROR broken",
        "               at main",
        "db-2       ready trace_id=7f3c",
    ]
    errors = _run(nodes, "--level", "error", "--format", "json")
    assert [json.loads(line)["text"] for line in errors.stdout.splitlines()] == ["ERROR broken\n    at main"]
    (counted,) = map(json.loads, _run(nodes, "--errors", "--format", "json").stdout.splitlines())
    assert (counted["count"], counted["nodes"], counted["component"]) == (1, {"api-1": 1}, "api")
    assert _run(nodes, "--errors", "db").stdout == "no errors\n"
    traced = _run(nodes, "--trace", "7f3c").stdout
    assert [line[13:] for line in traced.splitlines()] == ["db-2       ready trace_id=7f3c"]
    assert _run(nodes, "--zone", "b").stdout.endswith("ready trace_id=7f3c\n")
    assert _run(nodes, "api", "--tail", "1").stdout.count("\n") == 2
    assert _run(nodes, "--grep", "READY", "-i", "zone:b").stdout.count("\n") == 1
    unknown = _run(nodes, "apj")
    assert unknown.returncode == 64
    assert "api" in unknown.stderr


def test_the_command_into_a_pipe_that_closes(nodes: Nodes) -> None:
    nodes.make("w-1", COUNT)
    time.sleep(1)
    piped = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m clusterkit logs --name {nodes.cluster} | head -n 1"],
        cwd=nodes.folder,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert piped.stdout.endswith("line 1\n")
    assert piped.stderr == ""


def test_following_ends_quietly_on_ctrl_c(nodes: Nodes) -> None:
    nodes.make("w-1", "echo one; exec sleep 1000")
    program = subprocess.Popen(
        [sys.executable, "-m", "clusterkit", "logs", "--name", nodes.cluster, "-f"],
        cwd=nodes.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline().endswith("one\n")
    program.send_signal(2)
    out, err = program.communicate(timeout=LIMIT)
    assert (out, err, program.returncode) == ("", "", 130)


def test_the_archive_by_the_command(nodes: Nodes) -> None:
    record = nodes.make("w-1", "echo one; echo two; exec sleep 1000")
    time.sleep(0.3)
    archive(nodes.provider, [record], nodes.folder / ".clusterkit" / nodes.cluster, Journal())
    nodes.provider.remove(record, data=True)
    refused = _run(nodes)
    assert refused.returncode == 64
    assert "--archive" in refused.stderr
    assert [line.split()[-1] for line in _run(nodes, "--archive").stdout.splitlines()] == ["one", "two"]
