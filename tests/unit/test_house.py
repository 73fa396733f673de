"""The house: what a newcomer and CI rely on, and what must never be committed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("ansible", "ansible_runner", "docker", "jinja2", "mitogen", "pydantic", "redis", "requests", "rich", "yaml")


def committed() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def loaded_by(*argv: str) -> set[str]:
    """The top-level modules that are in memory after a command line, in a process of its own."""
    program = (
        "import json, sys\n"
        "from clusterkit.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], cwd=ROOT, capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_file_names_a_path_of_one_machine() -> None:
    homes = re.compile(r"/home/(?!me/)[A-Za-z]|/Users/[A-Za-z]|/work/[A-Za-z]|/tmp/[a-z]/")  # /home/me is anybody's
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in committed()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if homes.search(line) and path != Path(__file__)
    ]
    assert found == []


def test_constraints_name_plain_versions_and_no_host() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)]
    assert lines
    assert odd == []


def test_constraints_hold_every_dependency() -> None:
    text = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        *table["project"]["dependencies"],
        *table["project"]["optional-dependencies"]["all"],
        *table["dependency-groups"]["dev"],
        *table["build-system"]["requires"],
    ]
    names = [re.split(r"[<>=!~\[ ]", dependency.lower())[0].replace("_", "-") for dependency in named]
    assert [name for name in names if f"\n{name}==" not in text] == []


def test_help_loads_nothing_heavy() -> None:
    assert loaded_by("--help").isdisjoint(HEAVY)


def test_validate_loads_neither_engine_nor_ansible() -> None:
    loaded = loaded_by("validate", "-f", "examples/quickstart/clusterkit.yml")
    assert loaded.isdisjoint({"ansible", "ansible_runner", "docker", "mitogen", "redis", "requests"})


def test_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/development.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_make_target_is_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):(?! =)", makefile, re.MULTILINE)
    described = re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)
    manual = (ROOT / "docs" / "development.md").read_text()
    assert {"setup", "engine", "check", "unit", "integration", "test", "test-all", "demo", "bench", "cold"} <= set(
        targets
    )
    assert targets == described
    assert [target for target in targets if f"`make {target}`" not in manual] == []


def test_ci_runs_what_people_run() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert run.read_text().rstrip().endswith("make test")


def test_changelog_names_the_version() -> None:
    from clusterkit import __version__

    assert f"## {__version__.partition('.dev')[0]}" in (ROOT / "CHANGELOG.md").read_text()


def test_quickstart_tells_editors_its_schema() -> None:
    first = (ROOT / "examples" / "quickstart" / "clusterkit.yml").read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
