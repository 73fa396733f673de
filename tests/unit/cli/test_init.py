"""`clusterkit init`: what it writes, what it says, and that it never replaces anybody's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterkit.cli import main
from clusterkit.gallery import GALLERY


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(str(ended.value.code)), said.out, said.err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_writes_the_quickstart_with_its_schema_and_says_what_is_next(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "init")
    assert code == 0
    assert out.splitlines()[-1] == "next: read clusterkit.yml, then: clusterkit up"
    assert err == "wrote clusterkit.yml\nwrote clusterkit.schema.json\n"
    assert names(folder) == ["clusterkit.schema.json", "clusterkit.yml"]
    assert "components" in json.loads((folder / "clusterkit.schema.json").read_text())["properties"]
    assert run(capsys, "validate")[0] == 0


def test_a_service_brings_its_program(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "init", "leader")[0] == 0
    assert "tickets.py" in names(folder)
    assert run(capsys, "validate")[0] == 0


@pytest.mark.parametrize("there", ["clusterkit.yml", "clusterkit.yaml", "words.py"])
def test_it_replaces_nothing_unless_told_to(folder: Path, capsys: pytest.CaptureFixture[str], there: str) -> None:
    (folder / there).write_text("mine")
    code, _, err = run(capsys, "init", "gossip")
    assert code == 64
    assert err.startswith(f"{there} is there already, and nothing was written\n  mend: ")
    assert names(folder) == [there]
    assert (folder / there).read_text() == "mine"


def test_force_replaces(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clusterkit.yml").write_text("mine")
    assert run(capsys, "init", "etcd", "--force")[0] == 0
    assert (folder / "clusterkit.yml").read_bytes() == GALLERY["etcd"].files()["clusterkit.yml"]


def test_the_list_names_every_topology(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "init", "--list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[n, str(e.nodes)] for n, e in GALLERY.items()]
    assert names(folder) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("etdc",), 'did you mean "etcd"?'),
        (("etcd", "--list"), "three different things"),
        (("--profile", "dev"), "--profile is for Compose files"),
    ],
)
def test_what_makes_no_sense_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, _, err = run(capsys, "init", *words)
    assert code == 64
    assert said in err
    assert names(folder) == []


def test_a_folder_that_cannot_be_written_to_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clusterkit.schema.json").mkdir()
    code, _, err = run(capsys, "init")
    assert code == 64
    assert "cannot be written: Is a directory" in err
