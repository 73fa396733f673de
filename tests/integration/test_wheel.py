"""The wheel carries all it needs: installed into an empty environment, away from the checkout, it works."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.integration.conftest import left_of

ROOT = Path(__file__).parents[2]
TOPOLOGY = """
name: {name}
components:
  cache: {{kind: redis, replicas: 1}}
  web:
    kind: service
    replicas: 1
    command: [python3, -m, http.server, "8080"]
    ports: {{http: 8080}}
    health: {{http: {{port: http, path: /}}}}
"""


def run(*argv: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program as somebody without our checkout would: no PYTHONPATH, nothing on stdin."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_"))}
    return subprocess.run(
        [str(word) for word in argv],
        cwd=folder,
        env={**environment, "CI": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def done(*argv: str | Path, folder: Path) -> str:
    """The same, for what has to work; gives back stdout."""
    ended = run(*argv, folder=folder)
    assert ended.returncode == 0, f"{argv}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, folder=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=True)
    bin_folder = folder / "env" / "bin"
    constraints = ROOT / "constraints.txt"
    done(bin_folder / "pip", "install", "-q", "-c", constraints, f"{wheel}[all]", folder=folder)
    return bin_folder


def test_it_names_its_version(installed: Path, tmp_path: Path) -> None:
    from clusterkit import __version__

    assert __version__ in done(installed / "clusterkit", "version", folder=tmp_path)


def test_it_carries_playbooks_and_templates(installed: Path, tmp_path: Path) -> None:
    program = (
        "from clusterkit import paths\n"
        "print(paths.playbooks(), paths.templates())\n"
        "assert (paths.playbooks() / 'site.yml').is_file()\n"
        "assert paths.vagrantfile().is_file()\n"
        "for kind in ('etcd', 'redis', 'redis-sentinel'):\n"
        "    assert any((paths.playbooks() / 'roles' / kind).rglob('*.yml')), kind\n"
        "    assert any((paths.templates() / kind).iterdir()), kind\n"
    )
    assert str(ROOT) not in done(installed / "python", "-c", program, folder=tmp_path)


def test_it_gives_a_schema(installed: Path, tmp_path: Path) -> None:
    assert '"$schema"' in done(installed / "clusterkit", "schema", folder=tmp_path)


def test_it_tells_a_run_that_is_all_there_is(installed: Path, tmp_path: Path) -> None:
    assert "kept its promises" in done(installed / "chaos-test", "--help", folder=tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").write_text(
        '{"index":0,"process":0,"type":"invoke","f":"add","time_ns":1,"value":1}\n'
        '{"index":1,"process":0,"type":"ok","f":"add","time_ns":2,"value":1}\n'
    )
    assert run(installed / "clusterkit", "report", "run", folder=tmp_path).returncode == 2
    assert (tmp_path / "run" / "report.html").stat().st_size > 1_000_000


def test_it_judges_topologies(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "clusterkit.yml"
    file.write_text(TOPOLOGY.format(name="wheel"))
    done(installed / "clusterkit", "validate", folder=tmp_path)
    file.write_text(file.read_text().replace("kind: redis,", "kind: reddis,"))
    refused = run(installed / "clusterkit", "validate", folder=tmp_path)
    assert refused.returncode == 64
    assert "clusterkit.yml:4:" in refused.stderr


def test_it_brings_a_cluster_up_and_down(installed: Path, tmp_path: Path, cluster_name: str) -> None:
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY.format(name=cluster_name))
    assert "healthy" in done(installed / "clusterkit", "up", folder=tmp_path)
    assert "cache-1" in done(installed / "clusterkit", "status", folder=tmp_path)
    done(installed / "clusterkit", "down", folder=tmp_path)
    assert cluster_name not in done(installed / "clusterkit", "ls", folder=tmp_path)


def test_a_suite_of_somebody_with_only_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The example's three tests pass, in a folder of their own; one that fails shows what the cluster said."""
    shutil.copytree(ROOT / "examples" / "pytest-suite", tmp_path, dirs_exist_ok=True)
    topology = tmp_path / "clusterkit.yml"
    topology.write_text(topology.read_text().replace("name: pytest-suite", f"name: t{secrets.token_hex(4)}"))
    done(installed / "pip", "install", "-q", "-c", ROOT / "constraints.txt", "pytest", folder=tmp_path)
    (tmp_path / "tests" / "test_wrong.py").write_text(
        "def test_that_is_wrong(cluster, chaos):\n"
        "    with chaos('kill', target='cache-1'):\n"
        "        pass\n"
        "    cluster.wait_healthy()\n"
        "    assert cluster.node('cache-1').exec('redis-cli', 'get', 'nothing').stdout == b'something'\n"
    )
    ended = run(installed / "python", "-m", "pytest", "-p", "no:cacheprovider", folder=tmp_path)
    said = ended.stdout
    assert ended.returncode == 1, f"{said}\n{ended.stderr}"
    assert "3 passed" in said
    assert "1 failed" in said
    slice_of_logs = said.partition("- cluster t")[2]
    assert re.search(r"clusterkit kill-\d+: kill cache-1; asked 1 down, seen 1 of 1 down", slice_of_logs)
    assert re.search(r"clusterkit kill-\d+ healed: kill cache-1", slice_of_logs)
    assert "Ready to accept connections" in slice_of_logs
    assert "PytestUnknownMarkWarning" not in said
    assert left_of(topology.read_text().partition("name: ")[2].split()[0]) == []


def test_no_engine_is_said_in_plain_words(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY.format(name="never"))
    (tmp_path / "test_it.py").write_text("def test_it(cluster):\n    pass\n")
    done(installed / "pip", "install", "-q", "-c", ROOT / "constraints.txt", "pytest", folder=tmp_path)
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    argv = [str(installed / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "mend" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
