"""Compose files -> topologies. In each folder of fixtures/compose, expected.yml and expected.txt are what comes out."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase

import pytest

from clusterkit.check_topology import read_topology
from clusterkit.errors import UsageError
from clusterkit.gallery.compose import Imported, import_compose
from clusterkit.model.topology import Topology

FIXTURES = Path(__file__).parents[2] / "fixtures" / "compose"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def taken(text: str, folder: Path, **environ: str) -> tuple[Topology, Imported]:
    """The topology out of a Compose file with this text, and all that was said."""
    (folder / "compose.yaml").write_text(text)
    made = import_compose(Path("compose.yaml"), folder, environ)
    (folder / "clusterkit.yml").write_text(made.text)
    return read_topology(None, folder=folder, environ=environ)[0], made


def notes(made: Imported) -> list[str]:
    return [str(note) for note in made.notes]


@pytest.mark.parametrize("name", ["web", "etcd", "demo"])
def test_projects_become_these_topologies(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / name
    shutil.copytree(FIXTURES / name, project)
    monkeypatch.chdir(project)
    file = next(Path().glob("*compose.y*ml"))
    made = import_compose(file, project, {})
    assert made.text == (FIXTURES / name / "expected.yml").read_text()
    assert "\n".join([*notes(made), made.summary, ""]) == (FIXTURES / name / "expected.txt").read_text()
    (project / "clusterkit.yml").write_text(made.text)
    assert read_topology(None, folder=project, environ={})[0].components


def test_the_environment_is_what_compose_would_give(folder: Path) -> None:
    (folder / ".env").write_text("TAG=7\n")
    topology, made = taken(
        "services:\n  a_b:\n    image: x/y:$TAG\n"
        "    environment: [PRICE=$$5, 'A=${TAG:-1}', 'B=${NO}', 'C=${NO:-d}', D, 'E={{x}}']\n"
        "  c:\n    image: x/z\n    environment: {URL: 'http://a_b/x', LIKE: my-a_b, PEERS: 'a_b:1,a_b:2'}\n",
        folder,
        D="given",
    )
    one, two = topology.components["a-b"], topology.components["c"]
    assert one.image == "x/y:7"
    assert "x/y:$TAG" in made.text
    assert dict(one.environment) == {
        "PRICE": "$5",
        "A": "7",
        "B": "",
        "C": "d",
        "D": "given",
        "E": "{{ '{{' }}x}}",
    }
    assert dict(two.environment) == {"URL": "http://a-b/x", "LIKE": "my-a_b", "PEERS": "a-b:1,a-b:2"}
    assert "compose.yaml:4: variable NO is not set, and is empty here, as in Compose" in notes(made)


def test_a_topology_in_another_folder_has_values_and_paths_from_there(tmp_path: Path) -> None:
    project, here = tmp_path / "project", tmp_path / "here"
    project.mkdir()
    here.mkdir()
    (project / ".env").write_text("TAG=7\n")
    (project / "conf").write_text("")
    file = project / "compose.yaml"
    file.write_text("services: {a: {image: 'x/y:$TAG', volumes: ['./conf:/conf:ro']}}")
    made = import_compose(file, here, {})
    (here / "clusterkit.yml").write_text(made.text)
    topology, _ = read_topology(None, folder=here, environ={})
    assert topology.components["a"].image == "x/y:7"
    assert [mount.source for mount in topology.components["a"].mounts] == [(project / "conf").resolve()]


def test_a_password_of_redis_is_the_one_that_clusterkit_makes(folder: Path) -> None:
    topology, _ = taken(
        "services:\n  kv: {image: redis, command: 'redis-server --requirepass ${PW}'}\n"
        "  a: {image: x/y, environment: {U: 'redis://:${PW}@kv:6379/0', REDIS_PASSWORD: '${PW}', WORD: '${PW}'}}\n",
        folder,
        PW="kv",
    )
    assert topology.components["kv"].options.password
    assert dict(topology.components["a"].environment) == {
        "U": 'redis://:{{ components["kv"].password }}@kv-1:6379/0',
        "REDIS_PASSWORD": '{{ components["kv"].password }}',
        "WORD": "kv",
    }


@pytest.mark.parametrize(
    ("asked", "replicas"),
    [
        ("image: x/y", 3),
        ("image: x/y, scale: 2", 2),
        ("image: x/y, deploy: {replicas: 7}", 7),
        ("image: 'postgres:16'", 1),
        ("image: 'example.org:5000/library/postgres:16'", 1),
        ("image: x/y, volumes: ['kept:/data']", 1),
        ("image: 'quay.io/coreos/etcd:v3.5', scale: 2", 3),
    ],
)
def test_how_many_nodes(asked: str, replicas: int, folder: Path) -> None:
    topology, _ = taken(f"services: {{one-of-it: {{{asked}}}}}", folder)
    assert topology.components["one-of-it"].replicas == replicas


@pytest.mark.parametrize(
    ("services", "name", "kind", "replicas"),
    [
        ("{zoo1: I, zoo2: I, zoo3: I}", "zoo", "zookeeper", 3),
        ("{nats: I, nats-1: I, nats-2: I}", "nats", "nats", 3),
        ("{bus: I}", "bus", "nats", 3),
        ("{node-0: I, node-1: I, node-2: I}", "node", "bitnami/redis-cluster", 6),
        ("{node-0: I, node-1: I, node-2: I, node-3: I, node-4: I, node-5: I}", "node", "bitnami/redis-cluster", 6),
    ],
)
def test_members_that_were_written_out_become_one_component(
    services: str, name: str, kind: str, replicas: int, folder: Path
) -> None:
    topology, _ = taken(f"services: {services.replace('I', f'{{image: {kind}}}')}", folder)
    assert list(topology.components) == [name]
    assert topology.components[name].kind == kind.rpartition("/")[2]
    assert topology.components[name].replicas == replicas


@pytest.mark.parametrize(
    ("ports", "numbers", "publish"),
    [
        ("['3000']", [3000], {}),
        ("['8080:80', '9090:90/udp']", [80], {"http": 8080}),
        ("['127.0.0.1:8001:8000']", [8000], {"http": 8001}),
        ("['[::1]:8001:8000']", [8000], {"http": 8001}),
        ("['3000-3001:4000-4001']", [4000, 4001], {"p4000": 3000}),
        ("[{target: 81, published: '8080', host_ip: 127.0.0.1}]", [81], {"p81": 8080}),
        ("['65534:80']", [80], {}),
        ("['80:80', '8080:8080']", [80, 8080], {"http": 80, "p8080": 8080}),
        ("[nonsense]", [], {}),
    ],
)
def test_ports(ports: str, numbers: list[int], publish: dict[str, int], folder: Path) -> None:
    topology, _ = taken(f"services: {{a: {{image: x/y, ports: {ports}}}}}", folder)
    spec = topology.components["a"]
    assert [port.port for port in spec.options.ports.values()] == numbers
    assert dict(spec.publish) == publish


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("\"serve --name 'a b' $${HOME}\"", ("serve", "--name", "a b", "${HOME}")),
        ("[serve, '--at', '{{ here }}']", ("serve", "--at", "{{ '{{' }} here }}")),
        ('"echo \'open"', ("echo 'open",)),
    ],
)
def test_commands(command: str, words: tuple[str, ...], folder: Path) -> None:
    if words == ("echo 'open",):
        topology, made = taken(f"services: {{a: {{image: x/y, command: {command}}}}}", folder)
        assert 'command: ["echo \'open"]' in made.text
    else:
        topology, _ = taken(f"services: {{a: {{image: x/y, command: {command}}}}}", folder)
    assert topology.components["a"].options.command == words


def test_what_extends_and_merges_bring(folder: Path) -> None:
    topology, made = taken(
        "x-b: &b {environment: {A: 1, B: 1}, image: x/b}\n"
        "services:\n"
        "  low: {<<: *b, ports: ['1000']}\n"
        "  high: {extends: low, environment: [B=2, C=3], ports: ['2000'], image: x/h}\n"
        "  far: {extends: {service: low, file: other.yaml}, image: x/f}\n",
        folder,
    )
    high = topology.components["high"]
    assert high.image == "x/h"
    assert dict(high.environment) == {"A": "1", "B": "2", "C": "3"}
    assert [port.port for port in high.options.ports.values()] == [1000, 2000]
    assert 'compose.yaml:5: extends "low", which is in other.yaml, another file: what it brings is missing' in notes(
        made
    )


def test_a_component_that_would_be_refused_is_left_out_and_its_name_is_not_waited_for(folder: Path) -> None:
    topology, made = taken(
        "services:\n  bad: {image: x/y, mem_limit: 1k}\n  good: {image: x/z, depends_on: [bad]}\n", folder
    )
    assert list(topology.components) == ["good"]
    assert topology.components["good"].depends_on == ()
    assert any('compose.yaml:2: component "bad" is left out: ' in note for note in notes(made))
    assert "# bad is left out: " in made.text


def test_profiles_are_taken_when_asked_for(folder: Path) -> None:
    (folder / "c.yaml").write_text("services: {a: {image: x/a}, b: {image: x/b, profiles: [dev]}}")
    without = import_compose(Path("c.yaml"), folder, {}).summary
    assert without == "2 services became 1 component with 3 nodes; 1 left out"
    assert import_compose(Path("c.yaml"), folder, {}, ("dev",)).summary == "2 services became 2 components with 6 nodes"


def test_names_never_meet(folder: Path) -> None:
    topology, _ = taken(
        "services: {a_b: {image: x/1}, a-b: {image: x/2}, a-b-1: {image: x/3}, one: {image: x/4}}", folder
    )
    assert len(topology.components) == 4
    assert sorted(spec.image or "" for spec in topology.components.values()) == ["x/1", "x/2", "x/3", "x/4"]


KEYS = (
    "build", "cap_add", "command", "configs", "container_name", "cpus", "depends_on", "deploy", "entrypoint",
    "env_file", "environment", "expose", "extends", "healthcheck", "image", "links", "mem_limit", "networks", "ports",
    "profiles",
    "restart", "scale", "secrets", "user", "volumes", "working_dir", "no_such_key",
)  # fmt: skip
ODD = (
    "x",
    "5",
    "",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "{a: b}",
    "{a: {b: c}}",
    "[1, 2]",
    "'{{ x'",
    "[{a: [b]}]",
    "-1",
    "a:b:c",
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("image", ["x/y", "redis", "etcd", "bitnami/redis-sentinel"])
def test_whatever_stands_at_a_key_the_rest_is_imported(key: str, image: str, folder: Path) -> None:
    for odd in ODD:
        body = f"{{image: {odd}}}" if key == "image" else f"{{image: {image}, {key}: {odd}}}"
        topology, _ = taken(f"services:\n  good: {{image: x/good}}\n  odd: {body}\n", folder)
        assert "good" in topology.components


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("services: {a: [", "compose.yaml:1: this is not YAML"),
        ("version: '3'", 'compose.yaml has no "services"'),
        ("services: {a: {extends: b}, b: {extends: a}}", 'extends itself by way of "a"'),
        ("services: {a: {build: ./nowhere}}", "nothing of it can be a component"),
        (
            "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in pairwise(ascii_lowercase)),
            "grows to more",
        ),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str, folder: Path) -> None:
    (folder / "compose.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        import_compose(Path("compose.yaml"), folder, {})
    assert said in str(caught.value)


def test_a_missing_file_names_the_ones_that_are_there(folder: Path) -> None:
    (folder / "docker-compose.yml").write_text("")
    with pytest.raises(UsageError, match=r"name one that exists: docker-compose\.yml"):
        import_compose(Path("compose.yaml"), folder, {})
