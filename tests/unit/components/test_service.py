"""The user's own program: its options, its health, its role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clusterkit.components.base import Port, Running
from clusterkit.components.service import COMPONENT, ServiceOptions
from clusterkit.model.topology import ComponentSpec, Mount
from clusterkit.node import Result
from clusterkit.testing import FakeNode
from tests.unit.components.node_servers import FakeEtcd, group, running


def _options(**options: Any) -> ServiceOptions:
    return ServiceOptions.model_validate(options)


def test_a_command_as_text_is_split_without_a_shell() -> None:
    assert _options(command="serve --name 'a b' $HOME").command == ("serve", "--name", "a b", "$HOME")
    assert _options(command=["serve", "a b"]).command == ("serve", "a b")


def test_ports_are_numbers_or_more() -> None:
    ports = COMPONENT.ports_for(_options(ports={"http": 8080, "admin": {"port": 9000, "publish": False}}))
    assert ports == {"http": Port(8080), "admin": Port(9000, publish=False)}


def test_a_build_begins_at_the_topologys_folder(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "api" / "Other").write_text("FROM scratch\n")
    short = ServiceOptions.model_validate({"build": "./api"}, context={"folder": tmp_path})
    long = {"context": "api", "dockerfile": "Other", "args": {"A": "1"}}
    full = ServiceOptions.model_validate({"build": long}, context={"folder": tmp_path})
    builds = [COMPONENT.build(short), COMPONENT.build(full)]
    assert [build and (build.context, build.dockerfile, dict(build.args)) for build in builds] == [
        (tmp_path / "api", "Dockerfile", {}),
        (tmp_path / "api", "Other", {"A": "1"}),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": "serve 'a"}, "cannot be split into words"),
        ({"build": "nowhere"}, '"nowhere" is not a folder'),
        ({"build": "."}, '"." has no Dockerfile'),
        ({"build": ".", "packages": ["curl"]}, "Dockerfile"),
        ({"ports": {"a": 1, "b": 1}}, "1 has two names"),
        ({"ports": {"a": 70000}}, "65535"),
        ({"health": {"tcp": {"port": "http"}}}, 'health names the port "http"; the ports are: none'),
        ({"ports": {"web": 80}, "role": {"http": {"port": "http"}}}, "the ports are: web"),
        ({"health": {}}, "health needs one of http, tcp and command, and has none"),
        ({"ports": {"a": 1}, "health": {"tcp": {"port": "a"}, "command": "true"}}, "has tcp and command"),
        ({"health": {"command": []}}, "the command is empty"),
        ({"watch": ["nowhere"]}, '"nowhere" is not there to be watched'),
        ({"watch": [{"path": ".", "action": "sync"}]}, 'sync needs a target, a path below / in the node, and has ""'),
        ({"watch": [{"path": ".", "target": "/srv"}]}, "target is for what is copied, and restart copies nothing"),
        ({"watch": [{"path": ".", "action": "exec"}]}, "action: exec and command: go together"),
        ({"watch": [{"path": ".", "command": "true"}]}, "action: exec and command: go together"),
        ({"watch": [{"path": ".", "signal": "HUP"}]}, "signal is for action: signal"),
        ({"watch": [{"path": ".", "action": "signal", "signal": "HUB"}]}, 'did you mean "HUP"?'),
        ({"working_dir": "srv"}, "must begin with /"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=said):
        ServiceOptions.model_validate(options, context={"folder": tmp_path})


def test_something_has_to_run(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    build = {"build": str(tmp_path)}

    def misfits(options: dict[str, Any], image: str | None = None) -> list[str]:
        spec = ComponentSpec("api", "service", _options(**options), image=image)
        return [misfit.option for misfit in COMPONENT.check(spec, {"api": spec})]

    assert misfits({}) == ["command"]
    assert misfits({"command": "serve"}) == misfits(build) == misfits({}, "nginx:1") == []
    assert misfits(build, "nginx:1") == ["build"]
    assert misfits({"packages": ["curl"]}, "nginx:1") == ["packages"]


def test_what_is_watched_has_to_reach_the_nodes(tmp_path: Path) -> None:
    (tmp_path / "api" / "src").mkdir(parents=True)
    (tmp_path / "api" / "Dockerfile").write_text("FROM scratch\n")

    def misfits(watched: Any, *, build: bool = False, mounted: str = "") -> list[str]:
        options = {"build": "./api"} if build else {"command": "serve"}
        read = ServiceOptions.model_validate({**options, "watch": [watched]}, context={"folder": tmp_path})
        mounts = (Mount(tmp_path / mounted, "/srv"),) if mounted else ()
        spec = ComponentSpec("api", "service", read, mounts=mounts)
        return [misfit.what for misfit in COMPONENT.check(spec, {"api": spec})]

    copied = {"path": "./api/src", "action": "sync+restart", "target": "/srv"}
    assert misfits("./api/src", mounted="api") == misfits(copied, build=True) == []
    assert misfits({"path": "./api/Dockerfile", "action": "rebuild"}, build=True) == []
    assert "it is not mounted" in misfits("./api/src", mounted="api/Dockerfile")[0]
    assert "is for a component with build:" in misfits(copied, mounted="api")[0]
    assert "is not in the folder that is built" in misfits({**copied, "path": "."}, build=True)[0]


def _ready(seen: Running) -> dict[str, str]:
    return dict(COMPONENT.ready[0](seen))


def test_health_by_http_and_by_first_port() -> None:
    by_http = group(COMPONENT, {"ports": {"http": 80}, "health": {"http": {"port": "http", "status": 204}}})
    by_port = group(COMPONENT, {"ports": {"http": 80}})
    with FakeEtcd().serve() as port:
        assert _ready(running(COMPONENT, by_http, {"service-1": port})) == {"service-1": "GET /: status 200, not 204"}
        assert _ready(running(COMPONENT, by_port, {"service-1": port})) == {}
    assert _ready(running(COMPONENT, by_port, {"service-1": port})) == {"service-1": "port http: connection refused"}
    assert _ready(running(COMPONENT, group(COMPONENT, {"command": "work"}), {"service-1": 1})) == {}


def test_health_by_a_command_on_the_node() -> None:
    of = group(COMPONENT, {"health": {"command": "check --all"}})
    nodes = {
        "service-1": FakeNode(answers={("check", "--all"): Result(0)}),
        "service-2": FakeNode(answers={("check", "--all"): Result(3, b"starting\nnot yet\n")}),
        "service-3": FakeNode(is_reachable=False),
    }
    assert _ready(Running(of, COMPONENT, nodes)) == {
        "service-2": "check ended with code 3: not yet",
        "service-3": "fake-1 cannot be reached",
    }


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ("leader\n", "", "leader"),
        ('{"role": "follower"}', "role", "follower"),
        ('{"role": "follower"}', "state", None),
        ("not json", "role", None),
        ("", "", None),
    ],
)
def test_role_is_what_the_program_says(body: str, key: str, expected: str | None) -> None:
    of = group(COMPONENT, {"ports": {"http": 80}, "role": {"http": {"port": "http", "path": "/role", "key": key}}})
    with FakeEtcd(health=body).serve() as port:
        roles = COMPONENT.roles(running(COMPONENT, of, {"service-1": port}))
    assert [role.name for held in roles.values() for role in held] == ([expected] if expected else [])
