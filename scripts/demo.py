"""A cluster comes up, loses the primary of its cache, helps itself, is put to the test, and goes away: in front of you.

`make demo` runs it; it uses examples/quickstart. Whatever happens, the cluster is taken down at the end.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "examples" / "quickstart"
CLUSTERKIT = str(Path(sys.executable).with_name("clusterkit"))
WIDTH = 80
LOG_LINES = 30
STORY = "kill|lost|[so]down|elected|switch|primary|stored"
FAILOVER_SECONDS = 60
TEST_TIME = "30s"


class DemoFailed(Exception):
    """A step of the demo did not do what it was to show."""


def main() -> int:
    """Exit code 0 when all was shown and nothing is left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as spare:
        try:
            name, folder = choose_cluster(Path(spare))
        except DemoFailed as error:
            print(f"the demo cannot start: {error}")
            return 69
        begun = time.monotonic()
        try:
            show(folder)
            code = 0
        except DemoFailed as error:
            print(f"\nthe demo failed: {error}", flush=True)
            code = 1
        except KeyboardInterrupt:
            print("\ninterrupted", flush=True)
            code = 130
        finally:
            # From here on Ctrl-C is for nobody: the clean-up is short, and leaving it half done helps no one.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            left = take_down(name, folder)
    print(f"\nThe demo took {time.monotonic() - begun:.0f} s.")
    return code or (1 if left else 0)


def choose_cluster(spare: Path) -> tuple[str, Path]:
    """The quickstart as it is; a copy under a fresh name where a cluster of that name is up from another folder."""
    up = {row["name"]: row["source"] for row in json.loads(output("ls", "--format", "json"))}
    if up.get("quickstart", str(QUICKSTART / "clusterkit.yml")) == str(QUICKSTART / "clusterkit.yml"):
        return "quickstart", QUICKSTART
    name = f"quickstart-{secrets.token_hex(2)}"
    shutil.copytree(QUICKSTART, spare / "quickstart", ignore=shutil.ignore_patterns(".clusterkit"))
    file = spare / "quickstart" / "clusterkit.yml"
    file.write_text(file.read_text().replace("\nname: quickstart\n", f"\nname: {name}\n"))
    print(f'"quickstart" is up already, from {up["quickstart"]}: this one is called {name}')
    return name, spare / "quickstart"


def show(folder: Path) -> None:
    """The whole story, in six parts."""
    tell("1. Up", "Three etcd, three Redis, three Redis Sentinels, and three of our own program.")
    clusterkit("up", folder=folder)

    tell("2. Status", "Twelve nodes in three zones. The roles are read from the systems themselves.")
    clusterkit("status", folder=folder)

    tell("3. One system", "A key written through one node is there on the others.")
    first, *others = apis(folder)
    request(first, "PUT", "/keys/greeting", "hello from the first node")
    for api in others:
        request(api, "GET", "/keys/greeting")

    tell("4. Failover", "The primary of the cache dies. The Sentinels notice, and promote a replica.")
    request(first, "PUT", "/cache/colour", "green")
    moment = fail_over(folder, first)
    request(others[-1], "GET", "/cache/colour")
    clusterkit("status", folder=folder, expected=(0, 1))

    tell("5. Logs", "That moment, from all nodes, in the order in which the lines were written.")
    show_logs(folder, moment)

    tell("6. Promises", "Clients call etcd while its leader dies and is cut off. Was anything lost, or read too late?")
    clusterkit("up", folder=folder)
    clusterkit("chaos-test", "leader-loss", "--time", TEST_TIME, "--seed", "1", folder=folder)
    print("\nRedis promises less. See it lose writes that it had acknowledged, with the evidence:")
    print("$ cd examples/quickstart && clusterkit chaos-test split-brain")


def fail_over(folder: Path, api: tuple[str, int]) -> datetime:
    """Kills the primary; shows how long it took until there was another, and until a write was acknowledged.

    Gives back the moment of the kill.
    """
    old = primary(folder)
    if old is None:
        raise DemoFailed("the cache has no primary")
    written = threading.Event()
    seconds = 0.0

    def write_until_stored() -> None:
        nonlocal seconds
        while not written.is_set() and time.monotonic() - killed < FAILOVER_SECONDS:
            if send(api, "PUT", "/cache/after", "still here")[0] == 200:
                seconds = time.monotonic() - killed
                written.set()

    print(f"{old} is the primary.")
    moment = datetime.now(UTC)
    clusterkit("kill", old, folder=folder)
    killed = time.monotonic()
    writer = threading.Thread(target=write_until_stored, daemon=True)
    writer.start()
    while (new := primary(folder)) in (None, old):
        if time.monotonic() - killed > FAILOVER_SECONDS:
            raise DemoFailed(f"no new primary within {FAILOVER_SECONDS} s")
    print(f"\n{new} is the primary now, seen {time.monotonic() - killed:.1f} s after the kill.")
    writer.join(FAILOVER_SECONDS)
    if not written.is_set():
        raise DemoFailed(f"no write was acknowledged within {FAILOVER_SECONDS} s")
    print(f"A write through {api[0]}, tried all the while, was stored after {seconds:.1f} s.\n")
    return moment


def show_logs(folder: Path, moment: datetime) -> None:
    """The lines that tell the story, cut to the width of the page."""
    since = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"$ clusterkit logs --since {since} -i \\\n    --grep '{STORY}'")
    lines = output("logs", "--since", since, "-i", "--grep", STORY, folder=folder).splitlines()
    for line in lines[:LOG_LINES]:
        print(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")
    if len(lines) > LOG_LINES:
        print(f"(and {len(lines) - LOG_LINES} more lines)")
    if not lines:
        raise DemoFailed("the logs say nothing of it")


def take_down(name: str, folder: Path) -> bool:
    """Removes the cluster; True when something of it is left, which is said."""
    tell("Down", "Everything that carries the cluster's label goes, and nothing else.")
    ended = subprocess.run([CLUSTERKIT, "down"], cwd=folder, check=False)
    label = f"label=clusterkit.cluster={name}"
    found = {
        "containers": lines_of("docker", "ps", "--all", "--quiet", "--filter", label),
        "networks": lines_of("docker", "network", "ls", "--quiet", "--filter", label),
        "volumes": lines_of("docker", "volume", "ls", "--quiet", "--filter", label),
    }
    print("Left of it: " + ", ".join(f"{len(ids)} {what}" for what, ids in found.items()) + ".")
    print("Its images stay, for a quick next start (`make cold` removes them).")
    if is_engine_ours():
        print("The container engine was started by make, and stays up.")
    return ended.returncode != 0 or any(found.values())


def is_engine_ours() -> bool:
    """scripts/ensure-engine keeps the process id of an engine that it started."""
    kept, now = ROOT / ".venv" / ".engine", Path("/var/run/docker.pid")
    return kept.exists() and now.exists() and kept.read_text().strip() == now.read_text().strip()


def nodes(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(output("status", "--format", "json", folder=folder))["nodes"]
    return rows


def primary(folder: Path) -> str | None:
    """The node that is the cache's primary and runs."""
    found = (row["name"] for row in nodes(folder) if row["role"] == "primary" and row["state"] == "running")
    return next(found, None)


def apis(folder: Path) -> list[tuple[str, int]]:
    """Name and port on this machine of each node of our program."""
    return [(row["name"], row["ports"]["http"]) for row in nodes(folder) if row["component"] == "api"]


def request(api: tuple[str, int], method: str, path: str, body: str = "") -> None:
    """Shows a request and its answer. Raises: DemoFailed where that is not 200."""
    status, answer = send(api, method, path, body)
    data = f" -X {method} -d '{body}'" if body else ""
    print(f"$ curl 127.0.0.1:{api[1]}{path}{data}")
    print(f"{api[0]}: {answer.strip()}")
    if status != 200:
        raise DemoFailed(f"{api[0]} answered {status}")


def send(api: tuple[str, int], method: str, path: str, body: str = "") -> tuple[int, str]:
    """Status and text of the answer; 0 and the reason where none came."""
    asked = urllib.request.Request(f"http://127.0.0.1:{api[1]}{path}", body.encode() if body else None, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=15) as answer:  # noqa: S310  the same
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def clusterkit(*words: str, folder: Path, expected: tuple[int, ...] = (0,)) -> None:
    """Shows a command and lets it speak."""
    print(f"$ clusterkit {' '.join(words)}", flush=True)
    ended = subprocess.run([CLUSTERKIT, *words], cwd=folder, check=False)
    if ended.returncode not in expected:
        raise DemoFailed(f"`clusterkit {' '.join(words)}` ended with {ended.returncode}")


def output(*words: str, folder: Path = ROOT) -> str:
    """What a command prints; unhealthy nodes (exit code 1) are no failure here."""
    ended = subprocess.run([CLUSTERKIT, "-q", *words], cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1):
        raise DemoFailed(f"`clusterkit {' '.join(words)}` ended with {ended.returncode}:\n{ended.stderr}")
    return ended.stdout


def lines_of(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def tell(title: str, *text: str) -> None:
    bold, dim, end = (
        ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("",) * 3
    )
    print(f"\n{bold}{title}{end}")
    for line in text:
        print(f"{dim}{line}{end}")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
