"""L13. A run as JUnit XML: what CI systems show as tests."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Tree

from clusterkit.report import text
from clusterkit.report.run import Run

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Source: XML 1.0, production 2: what no document may hold, in whatever way it is written."""


def document(run: Run) -> bytes:
    """One suite for the run, a case for each verdict: `unknown` is an error, `invalid` a failure with its evidence."""
    faults = ", ".join(dict.fromkeys(fault.id.rpartition("-")[0] for fault in run.faults())) or "no fault"
    suite_name = f"{run.said.get('cluster', '')}.{run.name}"
    seconds = sum(run.result.get("seconds", {}).values())
    root = Tree.Element("testsuites")
    suite = Tree.SubElement(root, "testsuite", name=_clean(suite_name), time=f"{seconds:.3f}")
    cases = [*run.verdicts]
    for one in cases:
        name = f"{one['component']} {one['workload']} {one['checker']} under {faults} (seed {run.said.get('seed')})"
        case = Tree.SubElement(suite, "testcase", classname=_clean(suite_name), name=_clean(name), time="0")
        if one["verdict"] != "valid":
            tag = "failure" if one["verdict"] == "invalid" else "error"
            said = Tree.SubElement(case, tag, message=_clean(one["text"]), type=one["verdict"])
            said.text = _clean("\n".join(one["evidence"]))
    reasons = [*run.result.get("reasons", ())] if run.result else [run.text]
    case = Tree.SubElement(
        suite, "testcase", classname=_clean(suite_name), name=_clean(f"the run under {faults}"), time="0"
    )
    if reasons:
        Tree.SubElement(case, "error", message=_clean("; ".join(reasons)), type="unknown")
    verdicts = [one["verdict"] for one in cases]
    suite.set("tests", str(len(cases) + 1))
    suite.set("failures", str(verdicts.count("invalid")))
    suite.set("errors", str(verdicts.count("unknown") + bool(reasons)))
    Tree.SubElement(suite, "system-out").text = _clean("\n".join(text.lines(run)))
    Tree.indent(root)
    found: bytes = Tree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found


def _clean(said: str) -> str:
    return _NOT_XML.sub("\ufffd", said)
