"""The component of docs/adding-a-component.md: loaded as a plugin, planned, rendered, asked; and the page is true."""

from __future__ import annotations

import re
import socketserver
from pathlib import Path
from typing import Any

import pytest

from clusterkit.components.base import Component
from clusterkit.components.registry import Registry
from clusterkit.model.image import Install
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, plan
from clusterkit.provision.recipe import role_path
from clusterkit.render import tree
from clusterkit.units import Size
from tests.unit.components.node_servers import ADDRESS, SECRET, group, running, serving

ROOT = Path(__file__).parents[3]
HOME = ROOT / "tests" / "fixtures" / "plugins" / "memcached"
PAGE = ROOT / "docs" / "adding-a-component.md"


@pytest.fixture(scope="module")
def component() -> Component:
    return Registry(plugins=[str(HOME / "memcached.py")])["memcached"]


def test_it_is_planned_and_rendered(component: Component) -> None:
    spec = ComponentSpec("cache", "memcached", component.options.model_validate({"memory": "32MB"}))
    addresses = {name: f"10.0.0.{11 + i}" for i, name in enumerate(spec.node_names)}
    allocation = Allocation("10.0.0.0/24", addresses, secrets={"cache": {"password": SECRET}})
    made = plan(Topology("shop", {"cache": spec}), Registry(components=[component]), allocation)
    node = made.node("cache-2")
    assert node.command == ("memcached", "-p", "11211", "-Y", "/etc/memcached/users", "-m", "32", "-c", "1024")
    assert (node.image, node.user) == (Install("memcached"), "memcache")
    users = next(file for file in tree.files(made, node) if file.path == "/etc/memcached/users")
    assert (users.content, users.mode, users.owner) == (f"clusterkit:{SECRET}\n".encode(), 0o640, "memcache")


def test_its_role_is_found_in_its_home(component: Component) -> None:
    assert role_path("memcached", [Path(component.home) / "roles"]) == HOME / "roles" / "memcached"
    assert component.options().model_dump() == {"memory": Size(64 * 2**20), "connections": 1024}


def _memcached(*, is_forgetful: bool = False) -> socketserver.TCPServer:
    values: dict[str, bytes] = {}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline().split():
                if line[0] == b"set":
                    value = self.rfile.read(int(line[4]) + 2)[:-2]
                    is_right = line[1] != b"auth" or value == f"clusterkit {SECRET}".encode()
                    values[line[1].decode()] = b"" if is_forgetful else value
                    self.wfile.write(b"STORED\r\n" if is_right else b"CLIENT_ERROR authentication failure\r\n")
                else:
                    found = values[line[1].decode()]
                    self.wfile.write(b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (line[1], len(found), found))

    server = socketserver.ThreadingTCPServer(ADDRESS, Handler)
    server.daemon_threads = True
    return server


def test_its_readiness(component: Component) -> None:
    of = group(component, name="cache")
    with serving(_memcached()) as good, serving(_memcached(is_forgetful=True)) as bad:
        seen = running(component, of, {"cache-1": good, "cache-2": bad})
        assert component.ready[1](seen) == {"cache-2": "it serves ''"}
        client: Any = seen.client(of.members[0])
        try:
            client.write("k", "välue")
            assert client.read("k") == "välue"
        finally:
            client.close()


def test_the_page_shows_the_files_as_they_are() -> None:
    """Each block of code that names a file is that file."""
    page = PAGE.read_text()
    shown = dict(re.findall(r"^`([\w./-]+)`:?\n+```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert set(shown) == {
        "memcached.py",
        "memcached_checks.py",
        "roles/memcached/tasks/install.yml",
        "roles/memcached/tasks/service.yml",
        "templates/memcached/users.j2",
    }
    for name, text in shown.items():
        assert text == (HOME / name).read_text(), f"{name} in docs/adding-a-component.md is not the file"
