"""L8. testinfra checks on the nodes themselves: those that come with a component, and the user's `checks/test_*.py`.

They run in a child process, because pytest owns the process it runs in (its modules, its output, its exit).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clusterkit.errors import ClusterkitError
from clusterkit.health.roles import for_each
from clusterkit.model.image import Install
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, NodeRecord, Provider

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

from clusterkit.node import State

TIMEOUT = 120.0
"""Seconds that the checks of one component, or all of the user's, may take."""

_NO_CHECKS_FOUND = 5
_PACKAGE_HOME = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class CheckResult:
    """How one check ended on one node ("" where it did not come to a node). `words`: why it failed or was skipped."""

    node: str
    name: str
    outcome: Literal["passed", "failed", "skipped"]
    words: str = ""
    seconds: float = 0.0


def run_checks(
    plan: Plan, provider: Provider, record: ClusterRecord | None, folder: Path | None, *, shipped: bool = True
) -> tuple[CheckResult, ...]:
    """The `shipped` checks on nodes that were installed by our roles, then those in `folder` on every node that runs.

    Each component's checks and the user's run side by side.
    """
    nodes = [node for node in (record.nodes if record else ()) if node.state is State.RUNNING]
    jobs: dict[str, tuple[Path, list[NodeRecord]]] = {}
    for name, component in plan.components.items():
        ours = [
            node
            for node in nodes
            if node.component == name and isinstance(plan.node(node.name).image, Install) and component.checks
        ]
        if shipped and ours:
            jobs[name] = (_file_of(component.checks), ours)
    planned = [node for node in nodes if node.component in plan.components]
    if folder is not None and planned:
        jobs["checks/"] = (folder, planned)
    found = for_each(jobs, lambda job: _run(plan, provider.address, *jobs[job]))
    return tuple(result for results in found.values() for result in results)


def _file_of(module: str) -> Path:
    """`module` is a dotted name, or the path of a Python file. Raises: ClusterkitError."""
    if module.endswith(".py"):
        return Path(module)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ClusterkitError(f'the checks "{module}" are not there', mend="mend `checks` of the component")
    return Path(spec.origin)


def _run(plan: Plan, address: str, what: Path, nodes: Sequence[NodeRecord]) -> list[CheckResult]:
    hosts = {f"docker://{node.runtime_id}": node for node in nodes}
    with tempfile.TemporaryDirectory(prefix="clusterkit-checks-") as folder:
        xml = Path(folder) / "junit.xml"
        argv = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "clusterkit.health.facts"),
            *("-c", os.devnull, f"--rootdir={what if what.is_dir() else what.parent}", "--tb=short"),
            *(f"--hosts={','.join(hosts)}", f"--junitxml={xml}", "-o", "junit_family=xunit2", str(what)),
        ]
        code, output = _bounded(argv, _environment(plan, address, nodes))
        results = _read(xml, hosts) if xml.is_file() else []
    if code not in (0, 1, _NO_CHECKS_FOUND) and not any(result.outcome == "failed" for result in results):
        last = "\n".join(output.splitlines()[-10:])
        results.append(CheckResult("", what.name, "failed", f"pytest ended with code {code}\n{last}".strip()))
    return results


def _environment(plan: Plan, address: str, nodes: Sequence[NodeRecord]) -> dict[str, str]:
    from clusterkit.health.facts import VARIABLE, Node

    facts = {}
    for record in nodes:
        member = plan.node(record.name).member
        node = Node(
            record.name, record.component, record.kind, record.zone, record.address, record.index, dict(member.ports)
        )
        facts[record.runtime_id] = asdict(node)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    path = os.pathsep.join(filter(None, [str(_PACKAGE_HOME), kept.get("PYTHONPATH", "")]))
    return {
        **kept,
        "DOCKER_HOST": address,
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        VARIABLE: json.dumps(facts),
    }


def _bounded(argv: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and output. What takes too long is ended, with all that it started."""
    with subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=TIMEOUT)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            output, _ = child.communicate()
            output += f"\nthe checks took more than {TIMEOUT:g} s"
    return child.returncode, output


def _read(xml: Path, hosts: Mapping[str, NodeRecord]) -> list[CheckResult]:
    """The results in pytest's JUnit file; a check's name is `test_x[docker://ID]`."""
    from xml.etree import ElementTree

    return [_result(case, hosts) for case in ElementTree.parse(xml).iter("testcase")]  # noqa: S314  pytest wrote it


def _result(case: Element, hosts: Mapping[str, NodeRecord]) -> CheckResult:
    name = case.get("name", "")
    found = next(((host, node) for host, node in hosts.items() if host in name), None)
    node = found[1].name if found else ""
    if found:
        name = name.replace(found[0], "").replace("[]", "").replace("[-", "[")
    seconds = float(case.get("time", 0))
    for tag in ("failure", "error", "skipped"):
        trouble = case.find(tag)
        if trouble is not None:
            text = "\n".join(filter(None, [trouble.get("message", ""), (trouble.text or "").strip()]))
            return CheckResult(node, name, "skipped" if tag == "skipped" else "failed", text, seconds)
    return CheckResult(node, name, "passed", "", seconds)
