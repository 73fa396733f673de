"""`clusterkit render`, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.cli import main
from clusterkit.errors import EngineUnreachable


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(str(ended.value.code)), said.out, said.err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clusterkit.yml").write_text(
        "name: shop\ncomponents: {cache: {kind: redis, replicas: 1, image: 'redis:7'}}\n"
    )
    return tmp_path


def no_engine() -> None:
    raise EngineUnreachable("no container engine answers")


def test_without_an_engine_it_takes_fixed_addresses(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.providers.docker.connect", no_engine)
    code, out, err = run(capsys, "render", "-o", "out")
    files = sum(path.is_file() for path in (folder / "out").rglob("*")) - 1
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"out: 1 node in {files} files; README.md says how they are used",
        '  addresses: 192.168.56.0/24, fixed: no cluster "shop" of this file is up',
        "  passwords: in 4 files, for you alone (mode 0600): docker-compose.yml, inventory.yml, nodes/",
        "  note: cache is redis:7 in docker-compose.yml; on hosts it is what their distribution has",
    ]


def test_a_subnet_of_ones_own_needs_no_engine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "render", "-o", "out", "--subnet", "10.1.2.0/24")
    assert code == 0
    assert out.splitlines()[1] == "  addresses: 10.1.2.0/24, as you said"
    assert "10.1.2.11" in (folder / "out/docker-compose.yml").read_text()


@pytest.mark.parametrize(
    ("subnet", "said"),
    [
        ("10.1.2.3/24", "--subnet 10.1.2.3/24: 10.1.2.3/24 has host bits set\n  mend: write it like 10.20.30.0/24\n"),
        ("10.1.2.0/30", "the cluster's network 10.1.2.0/30 has no address left for cache-1\n"),
    ],
)
def test_a_subnet_that_is_none(subnet: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "render", "-o", "out", "--subnet", subnet)
    assert code in (64, 69)
    assert (out, err) == ("", said)


def test_a_folder_that_is_somebodys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "render", "-o", ".", "--subnet", "10.1.2.0/24")
    assert code == 64
    assert err == (
        f"{folder} is not empty, and not made by clusterkit render\n"
        "  mend: name a new or empty folder with -o, or empty it yourself\n"
    )
    assert [path.name for path in folder.iterdir()] == ["clusterkit.yml"]


def test_a_folder_that_cannot_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "render", "-o", "clusterkit.yml/out", "--subnet", "10.1.2.0/24")
    assert (code, out) == (69, "")
    assert err == (
        f"{folder}/clusterkit.yml/out: not a directory\n  mend: name a folder with -o that you may write to\n"
    )


def test_a_topology_that_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clusterkit.yml").write_text("name: shop\ncomponents: {cache: {kind: redsi}}\n")
    code, _, err = run(capsys, "render", "-o", "out")
    assert code == 64
    assert 'unknown kind "redsi"' in err
    assert not (folder / "out").exists()
