"""L8. All that `clusterkit health` says: readiness, the systems' own view, checks on nodes; as text, JSON, JUnit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clusterkit.components.base import Finding, Running
from clusterkit.components.conditions import UNREACHABLE, words
from clusterkit.health import checks, view
from clusterkit.health.checks import CheckResult
from clusterkit.health.ready import unready
from clusterkit.health.roles import for_each
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, Provider


@dataclass(frozen=True)
class ComponentHealth:
    """One component. `unready`: node name -> what keeps it from being ready. `checks` of its nodes."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    unready: Mapping[str, str]
    findings: tuple[Finding, ...]
    checks: tuple[CheckResult, ...] = ()

    @property
    def is_healthy(self) -> bool:
        return (
            not self.unready
            and all(finding.is_ok for finding in self.findings)
            and all(check.outcome != "failed" for check in self.checks)
        )


@dataclass(frozen=True)
class Health:
    """A whole cluster. `stray`: checks that failed before they came to a node, such as a file that does not load."""

    cluster: str
    components: tuple[ComponentHealth, ...]
    stray: tuple[CheckResult, ...] = ()

    @property
    def is_healthy(self) -> bool:
        return all(component.is_healthy for component in self.components) and not any(
            check.outcome == "failed" for check in self.stray
        )


def examine(
    plan: Plan,
    provider: Provider,
    record: ClusterRecord | None,
    *,
    checks_folder: Path | None = None,
    shipped: bool = True,
) -> Health:
    """Looks at everything once: all components side by side, then the checks.

    `checks_folder`: the user's own; `shipped`: those that come with the components.
    """
    asked = for_each(plan.groups, lambda name: _ask(view.running(plan, provider, record, name)))
    results = checks.run_checks(plan, provider, record, checks_folder, shipped=shipped)
    components = tuple(
        ComponentHealth(
            name=name,
            kind=group.kind,
            nodes=tuple(member.name for member in group.members),
            unready=asked[name][0],
            findings=asked[name][1],
            checks=tuple(check for check in results if check.node in {member.name for member in group.members}),
        )
        for name, group in plan.groups.items()
    )
    return Health(plan.name, components, tuple(check for check in results if not check.node))


def _ask(running: Running) -> tuple[dict[str, str], tuple[Finding, ...]]:
    seen = unready(running)
    if not running.nodes:
        return seen, ()
    try:
        return seen, tuple(running.component.health(running))
    except UNREACHABLE as error:
        return seen, (Finding(f"its own view cannot be read: {words(error)}", is_ok=False),)


def as_data(health: Health) -> dict[str, Any]:
    """Plain values, for JSON."""
    return {
        "name": health.cluster,
        "healthy": health.is_healthy,
        "components": [
            {
                "name": component.name,
                "kind": component.kind,
                "healthy": component.is_healthy,
                "nodes": [
                    {"name": node, "ready": node not in component.unready, "seen": component.unready.get(node, "")}
                    for node in component.nodes
                ],
                "findings": [
                    {"what": finding.what, "ok": finding.is_ok, "node": finding.node} for finding in component.findings
                ],
                "checks": [asdict(check) for check in component.checks],
            }
            for component in health.components
        ],
        "checks": [asdict(check) for check in health.stray],
    }


def as_text(health: Health) -> str:
    """For a person, 80 columns or less where the systems' own words allow it: what is wrong is marked with "!!"."""
    lines: list[str] = []
    for component in health.components:
        lines.append(f"{component.name} ({component.kind}): {'healthy' if component.is_healthy else 'UNHEALTHY'}")
        ready = len(component.nodes) - len(component.unready)
        lines.append(_line(not component.unready, f"ready: {ready} of {len(component.nodes)} nodes"))
        lines += [_line(False, seen, node) for node, seen in component.unready.items()]
        lines += [_line(finding.is_ok, finding.what, finding.node) for finding in component.findings]
        lines += _check_lines(component.checks)
    if health.stray:
        lines += ["checks", *_check_lines(health.stray)]
    lines.append(f"{health.cluster}: {'healthy' if health.is_healthy else 'UNHEALTHY'}")
    return "\n".join(lines)


def _check_lines(results: Sequence[CheckResult]) -> Iterator[str]:
    """How many passed; then every one that did not, with the first lines of its reason."""
    if not results:
        return
    failed = [check for check in results if check.outcome == "failed"]
    skipped = [check for check in results if check.outcome == "skipped"]
    passed = len(results) - len(failed) - len(skipped)
    yield _line(
        not failed, f"checks: {passed} of {len(results)} passed" + (f", {len(skipped)} skipped" * bool(skipped))
    )
    for check in failed:
        yield _line(False, check.name, check.node)
        yield from (f"       {line}" for line in check.words.splitlines()[:6])


def _line(is_ok: bool, what: str, node: str = "") -> str:
    return f"  {'ok' if is_ok else '!!'}  {f'{node}: ' if node else ''}{what}"


def junit(health: Health) -> str:
    """JUnit XML: a suite for each component, a case for each node's readiness, each finding and each check."""
    from xml.etree.ElementTree import Element, SubElement, indent, tostring

    root = Element("testsuites", name=health.cluster)
    suites: list[tuple[str, Iterable[_Case]]] = [
        (component.name, tuple(_cases(component))) for component in health.components
    ]
    if health.stray:
        suites.append(("checks", tuple(_check_case("checks", check) for check in health.stray)))
    for name, cases in suites:
        suite = SubElement(root, "testsuite", name=name)
        counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for case in cases:
            element = SubElement(
                suite, "testcase", classname=case.group, name=_xml(case.name), time=f"{case.seconds:.3f}"
            )
            counts["tests"] += 1
            if case.outcome != "passed":
                counts["failures" if case.outcome == "failed" else "skipped"] += 1
                first = case.words.splitlines()[0] if case.words else ""
                tag = "failure" if case.outcome == "failed" else "skipped"
                SubElement(element, tag, message=_xml(first)).text = _xml(case.words)
        suite.attrib |= {key: str(value) for key, value in counts.items()}
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


@dataclass(frozen=True)
class _Case:
    """One line of a JUnit file."""

    group: str
    name: str
    outcome: str
    words: str = ""
    seconds: float = 0.0


def _cases(component: ComponentHealth) -> Iterator[_Case]:
    for node in component.nodes:
        seen = component.unready.get(node, "")
        yield _Case(f"{component.name}.ready", node, "failed" if seen else "passed", seen)
    for finding in component.findings:
        what = f"{finding.node}: {finding.what}" if finding.node else finding.what
        yield _Case(f"{component.name}.view", what, "passed" if finding.is_ok else "failed", finding.what)
    for check in component.checks:
        yield _check_case(f"{component.name}.checks", check)


def _check_case(group: str, check: CheckResult) -> _Case:
    name = f"{check.name} on {check.node}" if check.node else check.name
    return _Case(group, name, check.outcome, check.words, check.seconds)


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 cannot carry: a system's own words may have any."""
    return re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
