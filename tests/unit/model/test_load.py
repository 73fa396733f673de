"""The loader: YAML 1.2's scalars, positions, and everything that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.errors import TopologyError
from clusterkit.model.load import MOST_LEVELS, MOST_NODES, Document, load, parse, scalar
from clusterkit.model.source import Where


def read(text: str, **variables: str) -> Document:
    return parse(text, "t.yml", variables)


def problems(text: str, **variables: str) -> list[str]:
    try:
        return [str(problem) for problem in read(text, **variables).problems]
    except TopologyError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("True", True), ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"),
        ("y", "y"), ("1", 1), ("-7", -7), ("0644", 644), ("0o17", 15), ("0x1F", 31), ("3.10", 3.1), (".5", 0.5),
        ("1e3", 1000.0), ("12:30:45", "12:30:45"), ("1_000", "1_000"), ("0b1", "0b1"), ("null", None), ("~", None),
        ("", None), ("-.inf", float("-inf")), ("2026-11-23", "2026-11-23"), ("=", "="), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_scalars_are_text() -> None:
    assert read("a: '1'\nb: \"true\"\nc: !!str 5\nd: |\n  3\n").value == {"a": "1", "b": "true", "c": "5", "d": "3\n"}


def test_numbers_keep_their_text() -> None:
    document = read("version: 3.10\nmode: 0755\n")
    assert document.value == {"version": 3.1, "mode": 755}
    assert document.texts == {("version",): "3.10", ("mode",): "0755"}


def test_keys_are_text() -> None:
    assert read("8080: a\ntrue: b\non: c\n").value == {"8080": "a", "true": "b", "on": "c"}


def test_every_key_and_value_has_its_place() -> None:
    document = read("components:\n  cache:\n    kind: redis\n    list: [1,\n      2]\n  other:\n")
    assert document.keys[("components", "cache", "kind")] == Where("t.yml", 3, 5)
    assert document.positions[("components", "cache", "kind")] == Where("t.yml", 3, 11)
    assert document.positions[("components", "cache")] == Where("t.yml", 2, 3)
    assert document.positions[("components", "cache", "list", 1)] == Where("t.yml", 5, 7)
    assert document.positions[("components", "other")] == Where("t.yml", 6, 3)


def test_places_count_characters_not_bytes() -> None:
    assert read("{ä: ö, b: c}").positions[("b",)] == Where("t.yml", 1, 11)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "t.yml"
    file.write_bytes(b"\xef\xbb\xbfname: shop\r\nb: c\r\n")
    document = load(file, {})
    assert document.value == {"name": "shop", "b": "c"}
    assert document.keys[("name",)].column == 1


def test_a_merge_may_add_keys() -> None:
    document = read("base: &base {a: 1, b: 2}\nmore: {<<: *base, c: 3}\n")
    assert document.value["more"] == {"c": 3, "a": 1, "b": 2}
    assert document.keys[("more", "a")] == Where("t.yml", 1, 14)


def test_a_quoted_merge_key_is_a_key() -> None:
    assert read("'<<': {a: 1}").value == {"<<": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "first_line"),
    [
        ("a: 1\na: 2\n", 't.yml:2:1: key "a" is there twice, first at t.yml:1:1'),
        ("b: &b {a: 1}\nc:\n  a: 2\n  <<: *b\n", 't.yml:4:3: "<<" brings key "a" again, which is at t.yml:3:3 already'),
        ("a: &a {b: 1}\nc: {<<: *a, <<: *a}\n", 't.yml:2:13: "<<" is there twice'),
        ("a: &a {<<: {b: 1}}\nc: {<<: *a}\n", 't.yml:1:8: "<<" inside a merged mapping is not followed'),
        ("a: &a\n  b: *a\n", "t.yml:1:4: an alias stands inside its own anchor"),
        ("a: &a {<<: *a}\n", "t.yml:1:4: an alias stands inside its own anchor"),
        ("a: 1\n---\nb: 2\n", "t.yml:2:1: a second document begins here"),
        ("a:\n\tb: 1\n", "t.yml:2:1: a tab stands in the indentation"),
        ("[a]", "t.yml:1:1: the top of the file must be a mapping"),
        ("", "t.yml:1:1: the file is empty"),
        ("a: !env HOME", 't.yml:1:4: the tag "!env" is not known here'),
        ("a: !!map [1]", 't.yml:1:4: the tag "tag:yaml.org,2002:map" is not known here'),
        ("a: b: c", 't.yml:1:5: a ":" stands where no key can be'),
        ("a: [1}", "t.yml:1:6: a list or mapping in brackets goes on wrongly here"),
        ("{a: 1}\nb: 2\n", "t.yml:2:1: the topology has ended before this line"),
        ("a: @b", "t.yml:1:4: a value cannot begin with this character"),
        ('a: "\\q"', "t.yml:1:5: this escape is not known"),
        ("a: x\x00y", "t.yml:1:5: character U+0000 may not stand in YAML"),
    ],
)
def test_what_is_refused(text: str, first_line: str) -> None:
    first = problems(text)[0].splitlines()
    assert first[0] == first_line
    assert first[1].startswith("  mend: ")


def test_an_alias_bomb_ends_early() -> None:
    layers = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    assert f"more than {MOST_NODES} values" in problems("\n".join(layers))[0]


def test_as_many_values_as_are_allowed() -> None:
    keys_and_values = (MOST_NODES - 1) // 2
    assert problems("\n".join(f"k{number}: 1" for number in range(keys_and_values))) == []
    assert problems("\n".join(f"k{number}: 1" for number in range(keys_and_values + 1))) != []


@pytest.mark.parametrize("depth", [MOST_LEVELS + 1, 900, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    assert len(problems("a: " + "[" * depth + "]" * depth)) == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"gone\.yml:1:1: there is no such file"):
        load(tmp_path / "gone.yml", {})
    with pytest.raises(TopologyError, match=r":1:1: this is a folder"):
        load(tmp_path, {})
    with pytest.raises(TopologyError, match=r":1:1: the file cannot be read"):
        load(Path("a" * 5000), {})
    (tmp_path / "latin.yml").write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(TopologyError, match=r"latin\.yml:2:7: byte 0xe9 is not UTF-8"):
        load(tmp_path / "latin.yml", {})


def test_a_plain_scalar_is_resolved_again_after_its_variables() -> None:
    document = read("a: ${N:-3}\nb: '${N:-3}'\nc: ${NONE:-}\nd: x${N:-3}\n")
    assert document.value == {"a": 3, "b": "3", "c": None, "d": "x3"}


def test_variables_bring_no_structure() -> None:
    assert read("a: ${V}", V="{b: 1}\nc: 2").value == {"a": "{b: 1}\nc: 2"}


def test_every_variable_that_is_not_set_is_said() -> None:
    said = problems("a: ${HOEM} ${B}\nc: [$D]\n", HOME="/root")
    assert [line.splitlines()[0] for line in said] == [
        "t.yml:1:4: variable HOEM is not set",
        "t.yml:1:4: variable B is not set",
        "t.yml:2:5: variable D is not set",
    ]
    assert "did you mean HOME?" in said[0]


def test_dotenv_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    (tmp_path / "t.yml").write_text("a: ${A}\nb: ${B}\n")
    document = load(tmp_path / "t.yml", {"B": "process"})
    assert document.value == {"a": "file", "b": "process"}


def test_a_bad_line_of_dotenv_is_a_problem_there(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nwhat is this\n")
    (tmp_path / "t.yml").write_text("a: ${A}\n")
    document = load(tmp_path / "t.yml", {}, name="t.yml")
    assert [str(problem.where) for problem in document.problems] == [".env:2:1"]


@given(st.text())
def test_text_gives_a_document_or_problems(text: str) -> None:
    try:
        document = read(text)
    except TopologyError as error:
        said = error.problems
    else:
        assert isinstance(document.value, dict)
        said = document.problems
    assert all(isinstance(problem.where, Where) for problem in said)


_YAML = st.lists(
    st.sampled_from(
        ["a", "b", ":", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "&x ", "*x", "<<", "'", '"', "|",
         ">", "!", "!!int ", "${A}", "$", "#", "---", "?", "~", "1", "\t", "%", "é"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(_YAML)
def test_pieces_of_yaml_give_a_document_or_problems(text: str) -> None:
    try:
        document = read(text, A="1")
    except TopologyError as error:
        said = error.problems
    else:
        assert set(document.keys) <= set(document.positions)
        said = document.problems
    assert all(isinstance(problem.where, Where) for problem in said)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc", min_size=1), _VALUES, max_size=4))
def test_json_means_the_same(value: dict[str, object]) -> None:
    import json

    document = read(json.dumps(value))
    assert document.value == value
    assert document.problems == ()
