"""`python -m benchmarks.known_results`: published results (known_rows.py) beside our own runs: docs/known-results.md.

Each row is run with as many seeds as are asked for. What was run is kept in docs/known-results.json, so that it goes on
where it was interrupted: a run is made anew only where the row, or the code that such a run uses, has changed since. A
row without a run is not written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT, say
from benchmarks.known_rows import ROWS, Row, System

Run = Mapping[str, Any]
Results = dict[str, dict[str, Run]]
"""Row's key -> seed -> what was seen."""

PAGE, KEPT = ROOT / "docs" / "known-results.md", ROOT / "docs" / "known-results.json"
COUNTED = ("set", "queue")
"""Checkers that count what was acknowledged, and what of it was lost."""
AT_ONCE = 3
"""Runs of one call of chaos-test."""
ONLY_READ = ("read", "dequeue")
HEAD = """\
# Known results, and ours

What others found out about the systems of the gallery, and what clusterkit finds when it looks for the same. Written by
`python -m benchmarks.known_results` from its own runs: each row with several seeds, the systems as Debian 12 has them,
three nodes each (Redis Cluster: six), in containers; the runs of a row follow each other on one cluster. A published
result of another release is no verdict on this one, and a run in which nothing was found shows no more than that.
"""


class Failed(Exception):
    """A command ended with what is no verdict; the text is what it said."""


def main() -> int:
    asked = _asked()
    results: Results = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    rows = [row for row in ROWS if not asked.only or row.system.name in asked.only]
    failed = []
    for system, its in groupby(rows, key=lambda row: row.system):
        due = {row: seeds for row in its if (seeds := due_seeds(results, row, asked.seeds))}
        if not due:
            continue
        try:
            with ground(system, list(due), asked.prefix) as cluster:
                for row, seeds in due.items():
                    for begin, often in batches(seeds):
                        for seen in cluster.runs(row, begin, often):
                            say(f"{row.key} seed {seen['seed']}: {seen['verdict']} {'; '.join(seen['found'])}")
                            results.setdefault(row.key, {})[str(seen["seed"])] = seen
                        write(results)
        except Failed as error:
            say(f"{system.name}: {error}")
            failed.append(system.name)
    write(results)
    return 1 if failed else 0


def write(results: Results) -> None:
    KEPT.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(results))


def topology(name: str, rows: Sequence[Row]) -> str:
    """One file with the scenarios of all `rows`, which are of one system."""
    return f"name: {name}\ncomponents: {rows[0].system.components}\nchaos:\n  scenarios:\n" + "".join(
        map(scenario, rows)
    )


def scenario(row: Row) -> str:
    faults = "".join(f"        - {fault}\n" for fault in row.faults)
    return f"    {row.key}:\n      time: {row.time}\n      workload: {row.workload}\n      faults:\n{faults}"


def digest_of(row: Row) -> str:
    """Of what is run; not of what is told about it."""
    return _short(topology(row.key, [row]).encode())


@cache
def digest_of_code(system: System) -> str:
    """Of the code that runs of this system use: all but the gallery and other systems' components."""
    import yaml

    kinds = {spec["kind"] for spec in yaml.safe_load(system.components).values()}
    words = {kind.partition("-")[0] for kind in kinds} | {"base", "conditions", "probes", "registry", "common"}
    files = [*(ROOT / "clusterkit").rglob("*.py"), *_files("playbooks", "roles"), *_files("templates")]
    digest = hashlib.sha256()
    for path in sorted(files):
        parts = path.relative_to(ROOT).parts
        if "gallery" in parts or "__pycache__" in parts:
            continue
        owner = parts[2] if parts[:2] in (("clusterkit", "components"), ("playbooks", "roles")) else ""
        owner = parts[1] if parts[0] == "templates" else owner
        if owner and owner.removesuffix(".py").replace("_", "-").partition("-")[0] not in words:
            continue
        digest.update("/".join(parts).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def ground(system: System, rows: Sequence[Row], prefix: Sequence[str]) -> Iterator[Cluster]:
    """The system, up in a folder of its own; taken down whatever happens. Raises: Failed."""
    with tempfile.TemporaryDirectory() as made:
        cluster = Cluster(system, Path(made), prefix)
        cluster.file.write_text(topology(cluster.name, list(dict.fromkeys(rows))))
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.call("down", "--name", cluster.name)


class Cluster:
    """One system in one folder, and how to ask it."""

    def __init__(self, system: System, folder: Path, prefix: Sequence[str]) -> None:
        self.system, self.folder, self.prefix = system, folder, prefix
        self.name = f"known{secrets.token_hex(3)}"
        self.file = folder / "clusterkit.yml"
        self.version = ""

    def up(self) -> None:
        """Raises: Failed."""
        self._must("up")
        package = ("dpkg-query", "-W", "-f", "${Version}", self.system.package)
        self.version = self._must("exec", self.system.node, *package).strip()

    def runs(self, row: Row, seed: int, often: int) -> list[Run]:
        """`often` runs, or less where one leaves the system ill; the first is tried again on a fresh cluster.

        Raises: Failed.
        """
        words = ("chaos-test", row.key, "--seed", str(seed), "--repeat", str(often), "--keep", "--format", "json")
        ended = self.call(*words)
        if not ended.stdout.strip():
            say(f"{row.key} seed {seed}: again on a fresh cluster, since: {ended.stderr.strip()[-300:]}")
            self._must("down")
            self.up()
            ended = self.call(*words)
        if not ended.stdout.strip():
            raise Failed(f"{shlex.join(words)} ended with {ended.returncode}: {ended.stderr.strip()}")
        return [self._seen(row, result) for result in json.loads(ended.stdout)]

    def _seen(self, row: Row, result: Mapping[str, Any]) -> Run:
        folder = Path(self.folder, result["folder"])
        history = (folder / "history.jsonl").read_bytes()
        return {
            "acknowledged": acknowledged(history.decode()),
            **numbers(result),
            "seed": result["seed"],
            "version": self.version,
            "command": json.loads((folder / "run.json").read_text())["command"],
            "history": _short(history),
            "row": digest_of(row),
            "code": digest_of_code(self.system),
            "date": datetime.now(UTC).date().isoformat(),
        }

    def _must(self, *words: str) -> str:
        ended = self.call(*words)
        if ended.returncode:
            raise Failed(f"{shlex.join(words)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """With the prefix where the agent is needed: by faults, and by disks of its making."""
        needs_agent = words[0] == "chaos-test" or ("loop" in self.system.components and words[0] != "exec")
        return subprocess.run(
            [*(self.prefix if needs_agent else ()), sys.executable, "-m", "clusterkit", "-q", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a result.json. `found`: what each checker said that was not satisfied, by its name."""
    seen: dict[str, Any] = {"verdict": result["verdict"], "ok": result["counts"]["ok"], "refuted": [], "found": []}
    for one in result["verdicts"]:
        if one["checker"] in COUNTED:
            seen |= {name: one["numbers"][name] for name in ("acknowledged", "lost", "stale") if name in one["numbers"]}
        if one["checker"] == "availability":
            seen["gap_s"] = one["numbers"].get("longest time without an ok, s")
        if one["verdict"] == "invalid":
            seen["refuted"].append(one["checker"])
        if one["verdict"] != "valid":
            seen["found"].append(f"{one['checker']}: {one['text']}")
    seen["found"] += result["reasons"]
    return seen


def acknowledged(history: str) -> int:
    """How many calls of clients that write were ok; `history`: JSON lines, as in a run's folder."""
    ops = map(json.loads, history.splitlines())
    return sum(op["type"] == "ok" and isinstance(op["process"], int) and op["f"] not in ONLY_READ for op in ops)


def judged(row: Row, runs: Sequence[Run]) -> str:
    """Whether our runs agree with what was published."""
    if row.refuted and any(row.refuted in run["refuted"] for run in runs):
        return "agrees"
    if not row.refuted and all(run["verdict"] == "valid" for run in runs):
        return "agrees"
    differs = row.refuted or any(run["verdict"] == "invalid" for run in runs)
    if not differs:
        return "not proved: " + _counted(runs)
    return f"differs: {row.reason}" if row.reason else "differs, not yet understood"


def page(results: Results) -> str:
    """docs/known-results.md: rows that have runs of the row as it is written now."""
    shown = [(row, runs) for row in ROWS if (runs := _current(results, row))]
    lines = [
        HEAD,
        "| system | workload | fault | published | our verdicts | |",
        "|---|---|---|---|---|---|",
        *(_line(row, runs) for row, runs in shown),
        "",
        "A row agrees when everything was valid in all runs, or, where something bad was published, when one run at",
        "least found it by the checker that looks for it.",
        "",
    ]
    for row, runs in shown:
        lines += _part(row, runs)
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row, runs: Mapping[str, Run]) -> str:
    version = ", ".join(sorted({run["version"] for run in runs.values()}))
    links = ", ".join(f"[source]({url})" for url in row.sources)
    faults = "; ".join(f"`{fault}`" for fault in row.faults)
    ours = list(runs.values())
    return (
        f"| [{row.system.name}](#{row.key}) {version}, `{row.system.components}` | `{row.workload}` | {faults} "
        f"| {row.published} ({links}) "
        f"| {_counted(ours)} | {judged(row, ours)} |"
    )


def _part(row: Row, runs: Mapping[str, Run]) -> list[str]:
    codes = ", ".join(sorted({f"`{run['code']}` ({run['date']})" for run in runs.values()}))
    return [
        f"## {row.key}",
        "",
        "| seed | verdict | calls ok | acknowledged | lost | stale | longest gap | what was found | history |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_seed(seed, run) for seed, run in runs.items()),
        "",
        f"`{next(iter(runs.values()))['command']}`, and so with the other seeds. Row `{digest_of(row)}`, code {codes}.",
        "",
        "```yaml",
        f"components: {row.system.components}",
        "chaos:",
        "  scenarios:",
        scenario(row).rstrip(),
        "```",
        "",
    ]


def _seed(seed: str, run: Run) -> str:
    counts = " | ".join(str(run.get(name, "")) for name in ("acknowledged", "lost", "stale"))
    gap = "" if run.get("gap_s") is None else f"{run['gap_s']:.1f} s"
    found = "; ".join(run["found"]).replace("\n", " ").replace("|", "\\|")
    return f"| {seed} | {run['verdict']} | {run['ok']} | {counts} | {gap} | {found} | `{run['history']}` |"


def _counted(runs: Sequence[Run]) -> str:
    """`2 of 3 invalid, 1 of 3 valid`."""
    verdicts = [run["verdict"] for run in runs]
    kinds = [kind for kind in ("invalid", "unknown", "valid") if kind in verdicts]
    return ", ".join(f"{verdicts.count(kind)} of {len(verdicts)} {kind}" for kind in kinds)


def _current(results: Results, row: Row) -> dict[str, Run]:
    """Seed -> run, by seed."""
    runs = results.get(row.key, {})
    return {seed: runs[seed] for seed in sorted(runs, key=int) if runs[seed]["row"] == digest_of(row)}


def due_seeds(results: Results, row: Row, most: int) -> list[int]:
    """Those from 1 to `most` without a run of this row by this code."""
    runs = results.get(row.key, {})
    wanted = (digest_of(row), digest_of_code(row.system))
    found = {int(seed) for seed, run in runs.items() if (run["row"], run["code"]) == wanted}
    return [seed for seed in range(1, most + 1) if seed not in found]


def batches(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """First seed and how many follow each other: at most AT_ONCE, so that others get their turn at the agent.

    A run that is missing in the end is made by the next call.
    """
    made: list[tuple[int, int]] = []
    for seed in seeds:
        begin, often = made[-1] if made else (0, 0)
        if made and begin + often == seed and often < AT_ONCE:
            made[-1] = (begin, often + 1)
        else:
            made.append((seed, 1))
    return made


def _files(*parts: str) -> list[Path]:
    return [path for path in ROOT.joinpath(*parts).rglob("*") if path.is_file()]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.known_results", description=__doc__)
    systems = sorted({row.system.name for row in ROWS})
    parser.add_argument("--seeds", type=int, default=5, help="1 to so many (default 5)")
    parser.add_argument("--only", action="append", choices=systems, metavar="SYSTEM", help=", ".join(systems))
    parser.add_argument(
        "--prefix", type=shlex.split, default=[], help="words before what needs the agent, as 'flock -w 900 FILE'"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
