"""The workflow of docs/ci.md is YAML that GitHub reads, and every command in it is one that clusterkit has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from clusterkit.cli.chaos_test import command as chaos_test
from clusterkit.cli.check import command as check
from clusterkit.cli.doctor import command as doctor
from clusterkit.cli.report import command as report

PAGE = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
COMMANDS: dict[str, click.Command] = {"chaos-test": chaos_test, "check": check, "doctor": doctor, "report": report}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def _lines() -> Iterator[str]:
    """Every command line, with a number where the workflow's run number stands."""
    for block in (*_blocks("yaml"), *_blocks("console")):
        for line in re.findall(r"clusterkit ((?:chaos-test|check|report|doctor)\b[^\n|#]*)", block):
            yield re.sub(r"\$\{\{.*?\}\}", "7", line).strip()


@pytest.mark.parametrize("line", sorted(set(_lines())))
def test_every_command_line_parses(line: str) -> None:
    name, *words = shlex.split(line)
    COMMANDS[name].make_context(name, words, resilient_parsing=False)


def test_the_workflow_has_steps_that_github_reads() -> None:
    workflow: dict[Any, Any] = yaml.safe_load(_blocks("yaml")[0])
    jobs = workflow["jobs"]
    assert set(workflow[True]) == {"push", "pull_request", "schedule"}  # YAML 1.1 reads "on" as true; GitHub does not
    assert set(jobs) == {"chaos", "nightly"}
    for job in jobs.values():
        steps = job["steps"]
        assert all(("uses" in step) != ("run" in step) for step in steps)
        kept = [step for step in steps if step.get("uses", "").startswith("actions/upload-artifact@")]
        assert [step["if"] for step in kept] == ["always()"]
        assert kept[0]["with"]["include-hidden-files"] is True
        assert any("clusterkit chaos-test" in step.get("run", "") for step in steps)
