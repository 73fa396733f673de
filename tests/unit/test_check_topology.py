"""Topologies: what is read from good ones, every message for bad ones, and the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ansible-lint brings it; it has no types
from pydantic import Field, model_validator

from clusterkit.check_topology import find_file, read_topology
from clusterkit.check_topology.keys import COMMON, TOP
from clusterkit.check_topology.schema import json_schema
from clusterkit.components.base import Component, Misfit, Options, Port
from clusterkit.components.registry import Registry
from clusterkit.errors import TopologyError, UsageError
from clusterkit.model.load import parse
from clusterkit.model.source import Where
from clusterkit.model.topology import ComponentSpec, Mount, Topology
from clusterkit.units import Duration, Size

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "topologies"
VALID = sorted((FIXTURES / "valid").glob("*.yml"))
INVALID = sorted((FIXTURES / "invalid").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples").glob("**/clusterkit.yml"))


class Depth(Options):
    """Nested options."""

    level: int = Field(ge=0)
    """How deep."""


class StoreOptions(Options):
    """Options of the made-up kind."""

    mode: str = "plain"
    """How it works."""

    follows: str = ""
    """Another component."""

    sizes: dict[str, Size] = Field(default_factory=dict)
    """Sizes by name."""

    depths: tuple[Depth, ...] = ()
    """Several depths."""

    words: str | list[str] = ""
    """Text or a list."""

    @model_validator(mode="after")
    def _modes(self) -> Self:
        if self.mode == "broken":
            raise ValueError("mode broken cannot be used\nmend: write mode: plain; it is the default")
        return self


def _misfits(spec: ComponentSpec, everything: Mapping[str, ComponentSpec]) -> Iterator[Misfit]:
    if spec.options.mode == "alone" and len(everything) > 1:
        yield Misfit("mode", "it is not alone", "remove the others")


STORE = Component(
    kind="store",
    version="1",
    summary="a made-up store",
    options=StoreOptions,
    ports={"client": Port(7000), "peer": Port(7001)},
    command=("stored",),
    exports={"token": lambda _group: "t"},
    depends_on=lambda options: (options.follows,) if options.follows else (),
    check=_misfits,
)
VOTER = Component(kind="voter", version="1", summary="votes", ports={}, command=("voted",), replicas="odd")


@pytest.fixture
def registry() -> Registry:
    return Registry(components=[STORE, VOTER])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def read(folder: Path, text: str, registry: Registry, **variables: str) -> Topology:
    (folder / "clusterkit.yml").write_text(text)
    return read_topology(None, folder=folder, environ=variables, registry=registry)[0]


def first_lines(folder: Path, text: str, registry: Registry, **variables: str) -> list[str]:
    with pytest.raises(TopologyError) as raised:
        read(folder, text, registry, **variables)
    assert all(problem.mend for problem in raised.value.problems)
    return [str(problem).splitlines()[0].removeprefix("clusterkit.yml:") for problem in raised.value.problems]


@pytest.mark.parametrize("file", [*VALID, *EXAMPLES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_valid_files_are_read(file: Path) -> None:
    topology, known = read_topology(file, folder=file.parent, environ={})
    assert topology.components
    assert all(spec.kind in known for spec in topology.components.values())
    assert topology.positions[()].line >= 1


@pytest.mark.parametrize("file", INVALID, ids=lambda path: path.stem)
def test_invalid_files_say_what_is_expected(file: Path) -> None:
    with pytest.raises(TopologyError) as raised:
        read_topology(file, folder=file.parent, environ={"HOME": "/root"})
    assert f"{raised.value}\n".replace(str(file.parent), "FOLDER") == file.with_suffix(".expected").read_text()
    places = [problem.where for problem in raised.value.problems]
    assert places == sorted(places, key=lambda where: where if isinstance(where, Where) else Where("", 0, 0))
    assert all(problem.mend for problem in raised.value.problems)


def test_three_of_everything_is_the_default(folder: Path, registry: Registry) -> None:
    topology = read(folder, "components: {store: }", registry)
    assert topology.name == "shop"
    assert topology.components["store"] == ComponentSpec(name="store", kind="store", options=StoreOptions())
    assert topology.components["store"].node_names == ("store-1", "store-2", "store-3")
    assert topology.file == folder / "clusterkit.yml"


def test_all_common_keys(folder: Path, registry: Registry) -> None:
    (folder / "app").mkdir()
    (folder / "a.env").write_text("A=file\nB=file\n")
    text = """
zones: [x, y]
components:
  first:
    kind: store
    replicas: 5
    zones: [y]
    image: store:1.10
    environment: [B=list, C=a=b, HANDED_ON]
    env_file: a.env
    mounts: ["./app:/a:ro", {source: ~/, target: /home}]
    publish: {client: 17000}
    depends_on: second
    cpus: 1.5
    memory: 64MB
    data: volume
    timeout: 1m
  second: {kind: store, follows: third, depends_on: [third]}
  third: {kind: voter}
"""
    topology = read(folder, text, registry, HOME=str(folder / "app"), HANDED_ON="yes")
    assert topology.zones == ("x", "y")
    assert topology.components["first"] == ComponentSpec(
        name="first",
        kind="store",
        options=StoreOptions(),
        replicas=5,
        zones=("y",),
        image="store:1.10",
        environment={"A": "file", "B": "list", "C": "a=b", "HANDED_ON": "yes"},
        mounts=(Mount(folder / "app", "/a", read_only=True), Mount(folder / "app", "/home")),
        publish={"client": 17000},
        depends_on=("second",),
        cpus=1.5,
        memory=Size(64 * 2**20),
        timeout=Duration(60),
    )
    assert topology.components["second"].depends_on == ("third",)


def test_defaults_lie_under_every_component(folder: Path, registry: Registry) -> None:
    text = """
defaults: {memory: 64MB, replicas: 1, zones: [a, b], environment: [A=default, B=default]}
components:
  one-store: {kind: store, memory: 128MB, zones: [c], environment: {B: own}}
  other: {kind: store, environment: }
"""
    topology = read(folder, text, registry)
    own, other = topology.components.values()
    assert (own.replicas, own.memory, own.zones) == (1, Size(128 * 2**20), ("c",))
    assert own.environment == {"A": "default", "B": "own"}
    assert (other.memory, other.zones) == (Size(64 * 2**20), ("a", "b"))
    assert other.environment == {"A": "default", "B": "default"}
    assert topology.where("components", "other", "memory") == Where("clusterkit.yml", 2, 20)


def test_a_problem_of_the_defaults_is_said_once(folder: Path, registry: Registry) -> None:
    text = "defaults: {memory: 64}\ncomponents: {a: {kind: store}, b: {kind: store}}"
    assert first_lines(folder, text, registry) == ["1:20: memory: a size needs a unit, found 64"]


def test_numbers_keep_their_text_where_text_is_wanted(folder: Path, registry: Registry) -> None:
    text = "components: {store: {mode: 3.10, words: [0755, true], image: 1.10, environment: {V: 2.0, W: 0644}}}"
    spec = read(folder, text, registry).components["store"]
    assert spec.options.mode == "3.10"
    assert spec.options.words == ["0755", "true"]
    assert spec.image == "1.10"
    assert spec.environment == {"V": "2.0", "W": "0644"}


def test_parts_of_other_packages_are_kept_raw(folder: Path, registry: Registry) -> None:
    topology = read(folder, "components: {store: }\nlogging: {ship: [1]}\nlinks:\nx-mine: [anything]", registry)
    assert topology.logging.ship is not None
    assert topology.logging.ship.value == [1]
    assert topology.logging.limit is None
    assert topology.links == ()


def test_equal_topologies_are_equal_wherever_they_stand(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = read(tmp_path / "a", "name: x\ncomponents: {store: }", registry)
    other = read(tmp_path / "b", "# moved\nname: x\n\ncomponents:\n  store: {kind: store, replicas: 3}\n", registry)
    assert one == other


@pytest.mark.parametrize(
    ("name", "cluster"), [("My Shop", "my-shop"), ("3_shops", "shops"), ("x" * 40, "x" * 31), ("a.b-", "a-b")]
)
def test_the_folder_names_the_cluster(tmp_path: Path, registry: Registry, name: str, cluster: str) -> None:
    (tmp_path / name).mkdir()
    assert read(tmp_path / name, "components: {store: }", registry).name == cluster


def test_a_folder_that_names_nothing(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "123").mkdir()
    lines = first_lines(tmp_path / "123", "components: {store: }", registry)
    assert lines == ["1:1: the folder's name, \"123\", cannot be the cluster's name"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("{mode: broken}", "1:28: mode broken cannot be used"),
        ("{sizes: {a: 5}}", "1:33: sizes.a: a size needs a unit, found 5"),
        ("{depths: [{level: -1}]}", "1:39: depths[0].level must be greater than or equal to 0, found -1"),
        ("{depths: [{}]}", "1:31: depths[0] needs level"),
        ("{depths: [{level: 1, levle: 2}]}", '1:42: unknown key "levle" in depths[0]'),
        ("{words: {a: b}}", "1:22: words must be text or a list, found a mapping"),
        ("{words: [a, {b: c}]}", "1:33: words[1] must be text, found a mapping"),
        ("{mdoe: plain}", '1:22: unknown key "mdoe" in component "store"'),
    ],
)
def test_what_pydantic_says_comes_in_our_words(folder: Path, registry: Registry, body: str, line: str) -> None:
    assert first_lines(folder, f"components: {{store: {body}}}", registry) == [line]


def test_a_text_may_bring_its_own_mend(folder: Path, registry: Registry) -> None:
    with pytest.raises(TopologyError) as raised:
        read(folder, "components: {store: {mode: broken}}", registry)
    assert raised.value.problems[0].mend == "write mode: plain; it is the default"


@pytest.mark.parametrize(
    ("components", "lines"),
    [
        ("{a: {kind: store, follows: b}}", ['1:40: follows names "b", which is no component']),
        (
            "{a: {kind: store, follows: b}, b: {kind: store, follows: a}}",
            ["1:40: components wait for each other: a -> b -> a"],
        ),
        ("{a: {kind: store, mode: alone}, b: {kind: store}}", ["1:37: it is not alone"]),
        ("{voter: {replicas: 2}}", ["1:32: voter wants an odd number of replicas, found 2: "
                                    "2 survive the loss of no more nodes than 1 do"]),
        ("{store: {publish: {clinet: 1}}}", ['1:32: publish names port "clinet", which store does not have']),
        ("{voter: , store: {environment: {A: '{{ components.voter.port }}'}}}",
         ['1:48: voter does not give "port" in "{{ components.voter.port }}"']),
    ],
)  # fmt: skip
def test_components_are_checked_against_each_other(
    folder: Path, registry: Registry, components: str, lines: list[str]
) -> None:
    assert first_lines(folder, f"components: {components}", registry) == lines


@pytest.mark.parametrize(
    "text",
    [
        "{{ components.store.token }}",
        "{{ components['store'].endpoints | default('x') }}",
        "{% for m in components.store.members %}{{ m.name }}:{{ m.address }} {% endfor %}",
        "{{ node.name }} {{ node.ports.client }} {{ component.first.zone }} {{ cluster }} {{ range(3) | list }}",
        "{# a comment #}",
    ],
)
def test_templates_that_are_right(folder: Path, registry: Registry, text: str) -> None:
    topology = read(folder, f"components: {{store: {{environment: {{A: {json.dumps(text)}}}}}}}", registry)
    assert topology.components["store"].environment["A"] == text


@pytest.mark.parametrize("text", ["{{ -cluster }}", "{{ 1 / 0 }}", "{{ components.store.members[7].name }}"])
def test_templates_that_cannot_be_filled_in(folder: Path, registry: Registry, text: str) -> None:
    text = f"components:\n  store:\n    environment:\n      A: '{text}'\n"
    (line,) = first_lines(folder, text, registry)
    assert line.startswith("4:10: ")
    assert "cannot be filled in" in line


def test_plugins_bring_kinds(folder: Path) -> None:
    (folder / "plugin.py").write_text(
        "from clusterkit.components.base import Component\n"
        "COMPONENT = Component(kind='mine', version='1', summary='mine', ports={}, command=('run',))\n"
    )
    topology = read(folder, "plugins: [./plugin.py]\ncomponents: {mine: }", Registry())
    assert topology.plugins == ("./plugin.py",)
    assert topology.components["mine"].kind == "mine"


def test_a_plugin_that_fails_is_a_problem_at_its_line(folder: Path) -> None:
    (folder / "plugin.py").write_text("def broken(\n")
    (folder / "empty.py").write_text("")
    lines = first_lines(folder, "plugins:\n- ./plugin.py\n- ./empty.py\ncomponents: {etcd: }", Registry())
    assert [line.partition(" ")[0] for line in lines] == ["2:3:", "3:3:"]
    assert "SyntaxError" in lines[0]


def test_env_files_have_places_too(folder: Path, registry: Registry) -> None:
    (folder / "a.env").write_text("# first\nA={{ components.nobody.port }}\nwhat is this\n")
    with pytest.raises(TopologyError) as raised:
        read(folder, "components: {store: {env_file: a.env}}", registry)
    assert [str(problem.where) for problem in raised.value.problems] == ["a.env:2:1", "a.env:3:1"]


def test_the_default_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no clusterkit\.yml") as none:
        find_file(None, tmp_path)
    assert "make one" in str(none.value.mend)
    (tmp_path / "clusterkit.yaml").write_text("components: {etcd: }")
    assert find_file(None, tmp_path) == tmp_path / "clusterkit.yaml"
    (tmp_path / "clusterkit.yml").write_text("components: {etcd: }")
    with pytest.raises(UsageError, match=r"clusterkit\.yml and clusterkit\.yaml"):
        find_file(None, tmp_path)
    assert find_file(Path("other.yml"), tmp_path) == Path("other.yml")


def test_files_are_named_from_where_we_were_called(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "t.yml").write_text("a: 1")
    with pytest.raises(TopologyError, match=r"^sub/t\.yml:1:1: "):
        read_topology(Path("sub/t.yml"), folder=tmp_path, environ={})


SCHEMA = Draft202012Validator(json_schema())


def _as_editors_see(file: Path) -> Any:
    """The values before variables are replaced."""

    class Unset(dict[str, str]):
        def get(self, name: str, _default: Any = None) -> Any:
            return "${" + name + "}"

    return parse(file.read_text(), file.name, Unset()).value


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)


@pytest.mark.parametrize("file", [*VALID, *EXAMPLES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_schema_accepts_what_is_valid(file: Path) -> None:
    assert [error.message for error in SCHEMA.iter_errors(_as_editors_see(file))] == []


@pytest.mark.parametrize(
    "name",
    ["unknown-keys", "wrong-types", "counts", "kinds", "names", "providers", "no-components", "options", "defaults"],
)
def test_the_schema_refuses_what_it_can_see(name: str) -> None:
    assert not SCHEMA.is_valid(_as_editors_see(FIXTURES / "invalid" / f"{name}.yml"))


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        ({"components": {"etcd": None}}, True),
        ({"components": {"etcd": {"election_timeout": "2s"}}}, True),
        ({"components": {"etcd": {"watches": "cache"}}}, False),
        ({"components": {"a": {"kind": "redis", "replicas": "${N:-3}", "appendfsync": "${F}"}}}, True),
        ({"components": {"a": {"kind": "redis", "appendfsync": "sometimes"}}}, False),
        ({"components": {"redis": {"kind": "etcd", "heartbeat_interval": "1s"}}}, True),
        ({"components": {"redis": {"kind": "etcd", "appendfsync": "no"}}}, False),
        ({"components": {"a": {"kind": "mine", "anything": 1}}}, False),
        ({"components": {"a": {"kind": "mine", "anything": 1}}, "plugins": ["./mine.py"]}, True),
        ({"components": {"a": {"kind": "redis-sentinel"}}}, False),
        ({"components": {"redis-sentinel": {"watches": "cache"}}}, True),
    ],
)
def test_the_schema_knows_each_kind(value: Any, is_valid: bool) -> None:
    assert SCHEMA.is_valid(value) is is_valid


def test_the_schema_describes_every_key() -> None:
    schema: dict[str, Any] = json_schema()
    assert set(schema["properties"]) == set(TOP)
    for kind in Registry().kinds:
        keys = schema["$defs"][f"kind.{kind}"]["properties"]
        assert set(COMMON) <= set(keys)
        assert [key for key, value in keys.items() if not value.get("description")] == []


def test_the_manual_names_every_key() -> None:
    manual = (ROOT / "docs" / "topology.md").read_text()
    own = {name for kind in Registry().kinds for name in Registry()[kind].options.model_fields}
    assert [key for key in (*TOP, *COMMON, *sorted(own)) if f"`{key}`" not in manual] == []
