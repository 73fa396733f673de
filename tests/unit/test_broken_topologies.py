"""200 broken topologies: whatever is done to a good one, there is no traceback and every error names a line."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterkit.check_topology import read_topology
from clusterkit.errors import ClusterkitError, TopologyError

ROOT = Path(__file__).parents[2]
GOOD = sorted((ROOT / "tests" / "fixtures" / "topologies" / "valid").glob("*.yml")) + sorted(
    (ROOT / "examples").glob("**/clusterkit.yml")
)
COUNT = 200


def _one_line(change: Callable[[random.Random, str], str]) -> Callable[[random.Random, str], str]:
    """Changes one line that is neither empty nor a comment."""

    def mutate(chance: random.Random, text: str) -> str:
        lines = text.split("\n")
        full = [n for n, line in enumerate(lines) if line.strip() and not line.strip().startswith("#")]
        chosen = chance.choice(full or range(len(lines)))
        lines[chosen] = change(chance, lines[chosen])
        return "\n".join(lines)

    return mutate


def _misspell(chance: random.Random, line: str) -> str:
    keys = list(re.finditer(r"[a-z_]{2,}(?=:)", line))
    if not keys:
        return line + ":"
    key = chance.choice(keys)
    at = chance.randrange(key.start(), key.end() - 1)
    return line[:at] + line[at + 1] + line[at] + line[at + 2 :]


def _swap_value(chance: random.Random, line: str) -> str:
    value = chance.choice(["[1, 2]", "{a: b}", "true", "-7", "3.10", "~", "''", "'text'", "[[]]", "99999999999", "*x"])
    return re.sub(r":( .*)?$", f": {value}", line) if ":" in line else f"- {value}"


def _odd_characters(chance: random.Random, line: str) -> str:
    at = chance.randrange(len(line) + 1)
    odd = chance.choice(
        ["\t", "\x00", "\x85", "\u2028", "{{", "}}", "${", "$", "&", "*", "'", '"', ": ", "- ", "#", "%"]
    )
    return line[:at] + odd + line[at:]


def _cut(chance: random.Random, text: str) -> str:
    return text[: chance.randrange(len(text))]


def _shuffle(chance: random.Random, text: str) -> str:
    lines = text.split("\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    _one_line(lambda _chance, _line: ""),
    _one_line(lambda _chance, line: f"{line}\n{line}"),
    _one_line(lambda chance, line: " " * chance.randrange(1, 4) + line),
    _one_line(lambda _chance, line: line[1:]),
    _one_line(_misspell),
    _one_line(_swap_value),
    _one_line(_odd_characters),
    _cut,
    _shuffle,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A copy of each good topology's folder."""
    made = []
    for number, file in enumerate(GOOD):
        folder = tmp_path_factory.mktemp(f"good-{number}")
        shutil.copytree(file.parent, folder, dirs_exist_ok=True)
        made.append(folder / file.name)
    return made


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_broken_topology_is_an_error_at_a_line(folders: list[Path], seed: int) -> None:
    chance = random.Random(seed)
    good = chance.choice(folders)
    broken = good.read_text()
    for _ in range(chance.randrange(1, 4)):
        broken = chance.choice(MUTATIONS)(chance, broken) or " "
    raw = broken.encode()
    if chance.random() < 0.1:
        at = chance.randrange(len(raw))
        raw = raw[:at] + bytes([chance.randrange(256)]) + raw[at:]
    file = good.with_name(f"broken-{seed}.yml")
    file.write_bytes(raw)
    error = _error_of(file)
    if error is None:
        return  # some changes do no harm: a comment, an optional line
    said = str(error).splitlines()[0]
    place = re.match(r"(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): .", said)
    assert place is not None, said
    assert place["file"] in (file.name, "settings.env")
    assert all(problem.mend for problem in getattr(error, "problems", ())), said


def _error_of(file: Path) -> ClusterkitError | None:
    """What is wrong with a topology. Anything but a ClusterkitError is a bug, and fails the test."""
    try:
        topology, _ = read_topology(file, folder=file.parent, environ={})
    except ClusterkitError as error:
        return error
    assert topology.components
    return None


def test_most_of_them_are_broken(folders: list[Path]) -> None:
    """The mutations bite: a missing colon in every line of a file is always seen."""
    for good in folders:
        file = good.with_name("no-colons.yml")
        file.write_text(good.read_text().replace(":", ""))
        with pytest.raises(TopologyError):
            read_topology(file, folder=file.parent, environ={})
