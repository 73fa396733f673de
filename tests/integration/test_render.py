"""What `clusterkit render` writes, used as somebody without clusterkit would: docker-compose, ansible-playbook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterkit.clock import SYSTEM, Deadline
from clusterkit.journal import Journal
from clusterkit.model.image import Install
from clusterkit.providers.docker import DockerProvider
from clusterkit.provision.images import Images
from tests.integration.conftest import NINE, Folder

pytestmark = pytest.mark.xdist_group("render")  # the ports of a rendered folder are fixed

ON_HOSTS = ("openssh-server", "systemd-sysv")


def run(*argv: str | Path, folder: Path, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """What a program prints; fails with all that it said when it ends otherwise."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != code:
        pytest.fail(f"{argv}: exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def until(look: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = Deadline(seconds)
    while not look():
        assert not deadline.is_over, f"not in {seconds:g} s: {what}"
        SYSTEM.sleep(0.2)


def free_subnet(name: str) -> str:
    return next(DockerProvider().choose_subnet(name))


# -- containers --------------------------------------------------------------------------------------------------------


@dataclass
class Compose:
    """docker-compose in a rendered folder; `project` is what its containers are labelled with."""

    folder: Path
    project: str

    def __call__(self, *words: str, code: int = 0) -> str:
        return run("docker-compose", *words, folder=self.folder, code=code)

    def health(self) -> dict[str, str]:
        """service -> "healthy", "starting", ..., or how it ended."""
        client = DockerProvider().client
        found = client.containers(all=True, filters={"label": f"com.docker.compose.project={self.project}"})
        states = {
            item["Labels"]["com.docker.compose.service"]: client.inspect_container(item["Id"])["State"]
            for item in found
        }
        return {
            name: state.get("Health", {}).get("Status", "runs") if state["Running"] else f"exit {state['ExitCode']}"
            for name, state in states.items()
        }

    def left(self) -> list[str]:
        client = DockerProvider().client
        label = {"label": f"com.docker.compose.project={self.project}"}
        return [
            *(item["Names"][0] for item in client.containers(all=True, filters=label)),
            *(item["Name"] for item in client.networks(filters=label)),
            *(item["Name"] for item in (client.volumes(filters=label) or {}).get("Volumes") or []),
        ]


@pytest.fixture
def compose(folder: Folder) -> Iterator[Compose]:
    made = Compose(folder.path / "out", folder.name)
    yield made
    if made.folder.exists():
        made("down", "--volumes", "--timeout", "1")
    assert made.left() == []


def test_docker_compose_brings_it_up_healthy_and_takes_it_away(folder: Folder, compose: Compose) -> None:
    folder.write(NINE)
    folder.run("render", "-o", "out", "--subnet", free_subnet(folder.name), "--images")
    compose("up", "-d")
    nodes = [f"{name}-{index}" for name in ("registry", "cache", "sentinel") for index in (1, 2, 3)]
    healthy = {**dict.fromkeys(nodes, "healthy"), "registry-setup": "exit 0"}
    until(lambda: compose.health() == healthy, "every node is healthy")

    assert compose("exec", "-T", "cache-1", "redis-cli", "set", "colour", "green") == "OK\n"
    until(lambda: compose("exec", "-T", "cache-3", "redis-cli", "get", "colour") == "green\n", "a replica has it")
    assert compose("exec", "-T", "registry-1", "etcdctl", "put", "colour", "red") == "OK\n"
    assert compose("exec", "-T", "registry-3", "etcdctl", "get", "colour") == "colour\nred\n"
    compose("exec", "-T", "registry-3", "env", "-u", "ETCDCTL_USER", "etcdctl", "get", "colour", code=1)
    quorum = compose("exec", "-T", "sentinel-2", "redis-cli", "-p", "26379", "sentinel", "ckquorum", "cache")
    assert quorum.startswith("OK 3 usable Sentinels")
    owners = compose(
        "exec", "-T", "cache-1", "stat", "-c", "%a %U", "/etc/redis/options.conf", "/var/lib/redis/redis.conf"
    )
    assert owners == "640 redis\n640 redis\n"

    before = compose("ps", "-q")
    compose("up", "-d")
    assert compose("ps", "-q") == before
    until(lambda: compose.health() == healthy, "what is done once ends well the second time, too")


def test_a_program_of_the_users_is_built_and_finds_the_others(folder: Folder, compose: Compose) -> None:
    (folder.path / "app").mkdir()
    (folder.path / "app/page.html").write_text("mounted\n")
    (folder.path / "image").mkdir()
    base = DockerProvider().client.images(filters={"label": "clusterkit.image=base"})[0]["RepoTags"][0]
    (folder.path / "image/Dockerfile").write_text(f"FROM {base}\nCOPY page.html /srv/\nWORKDIR /srv\n")
    (folder.path / "image/page.html").write_text("built\n")
    folder.write(
        """
components:
  mounted:
    kind: service
    replicas: 1
    command: [python3, -m, http.server, "8080", --directory, /srv/app]
    mounts: ["./app:/srv/app:ro"]
    ports: {http: 8080}
    health: {http: {port: http, path: /page.html}}
  built:
    kind: service
    replicas: 1
    build: ./image
    command: [sh, -c, 'echo "$$PRICE" > price && exec python3 -m http.server 80']
    environment: {PRICE: "5$$"}
    ports: {http: 80}
    depends_on: [mounted]
"""
    )
    folder.run("render", "-o", "out", "--subnet", free_subnet(folder.name), "--images")
    try:
        compose("up", "-d")
        ask = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')"
        until(lambda: compose.health() == {"mounted-1": "healthy", "built-1": "healthy"}, "both are healthy")
        asked = ("exec", "-T", "built-1", "python3", "-c", ask)
        assert compose(*asked, "http://mounted-1:8080/page.html") == "mounted\n"
        assert compose(*asked, "http://built/page.html") == "built\n"
        assert compose(*asked, "http://built/price") == "5$\n"
    finally:
        compose("down", "--volumes", "--timeout", "1")
        image = re.findall(r"image: (clusterkit/build-built:\w+)", (compose.folder / "docker-compose.yml").read_text())
        DockerProvider().client.remove_image(image[0], force=True)


def test_of_a_cluster_that_is_up_it_takes_all(folder: Folder) -> None:
    folder.write("components: {cache: {kind: redis, replicas: 1}}\n")
    folder.run("up")
    said = folder.run("render", "-o", "out").stdout
    node = folder.nodes()["cache-1"]
    assert ", as in the cluster that is up\n" in said
    compose_file = (folder.path / "out/docker-compose.yml").read_text()
    assert f"ipv4_address: {node['address']}\n" in compose_file
    assert f"127.0.0.1:{node['ports']['client']}:6379\n" in compose_file
    for path in ("/etc/redis/options.conf", "/etc/clusterkit/secrets.json"):
        there = on(f"clusterkit-{folder.name}-cache-1", "cat", path)
        assert (folder.path / f"out/nodes/cache-1{path}").read_text() == there


# -- hosts -------------------------------------------------------------------------------------------------------------


@dataclass
class Hosts:
    """Containers with systemd and sshd in place of hosts, and plain ansible-playbook."""

    folder: Folder
    key: Path

    def play(self) -> dict[str, dict[str, int]]:
        """Runs the rendered playbook; host -> Ansible's own recap."""
        config = self.folder.path / "ansible.cfg"
        config.touch()  # and none that lies about on this machine
        environment = {
            "ANSIBLE_CONFIG": str(config),
            "ANSIBLE_HOME": str(self.folder.path / "ansible"),
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile=/dev/null",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_FORKS": "12",
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        words = ("-i", "inventory.yml", "-u", "root", "--private-key", self.key, "site.yml")
        said = run(program, *words, folder=self.folder.path / "out", environment=environment)
        _, _, recap = said.partition("PLAY RECAP")
        return {
            line.split()[0]: {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}
            for line in recap.splitlines()[1:]
            if "=" in line
        }


@pytest.fixture
def hosts(cluster_name: str, folder: Folder, tmp_path: Path) -> Callable[[dict[str, str]], Hosts]:
    """Makes hosts: node -> kind. They are where the rendered inventory says; whatever happens, they are removed."""
    subnet = free_subnet(cluster_name)
    client = DockerProvider().client
    label = {"clusterkit.cluster": cluster_name}

    def make(nodes: dict[str, str]) -> Hosts:
        key = tmp_path / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key, folder=tmp_path)
        folder.run("render", "-o", "out", "--subnet", subnet)
        images = {kind: Install(kind, ON_HOSTS) for kind in nodes.values()}
        made = Images(client, Journal()).ensure(set(images.values()))
        pool: Any = {"Driver": "default", "Config": [{"Subnet": subnet}]}
        client.create_network(cluster_name, labels=label, ipam=pool)
        addresses = re.findall(r"ansible_host: (\S+)", (folder.path / "out/inventory.yml").read_text())
        for (node, kind), address in zip(nodes.items(), addresses, strict=True):
            image = made[images[kind]].tag
            _host(f"{cluster_name}-{node}", image, address, cluster_name, (tmp_path / "key.pub").read_bytes())
        return Hosts(folder, key)

    return make


def _host(name: str, image: str, address: str, network: str, key: bytes) -> None:
    """A container that systemd runs, without privileges; waits until sshd answers."""
    from clusterkit.node import File
    from clusterkit.provision.builder import tar

    client = DockerProvider().client
    is_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    config = {
        "Image": image,
        "Cmd": ["/sbin/init"],
        "StopSignal": "SIGRTMIN+3",
        "Labels": {"clusterkit.cluster": network},
        "HostConfig": {
            "NetworkMode": network,
            "Tmpfs": {"/run": "", "/run/lock": ""},
            "Binds": [f"/sys/fs/cgroup:/sys/fs/cgroup:{'rw' if is_v2 else 'ro'}"],
            "CgroupnsMode": "host",
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": address}}}},
    }
    container = client.create_container_from_config(config, name)["Id"]  # type: ignore[no-untyped-call]  # the stubs lack it
    # The packages are in the image, so that nothing is downloaded here; on a new host their own units never run.
    never = [File(f"/etc/systemd/system/{unit}.service", b"") for unit in ("etcd", "redis-server", "redis-sentinel")]
    client.put_archive(container, "/", tar([File("/root/.ssh/authorized_keys", key, 0o600), *never]))
    client.start(container)
    until(lambda: _listens(container), f"sshd runs on {name}")


def _listens(container: str) -> bool:
    client = DockerProvider().client
    asked = client.exec_create(container, ["systemctl", "is-active", "--quiet", "ssh"])["Id"]
    client.exec_start(asked)
    return bool(client.exec_inspect(asked)["ExitCode"] == 0)


def on(container: str, *argv: str, user: str = "root") -> str:
    return run("docker", "exec", "--user", user, container, *argv, folder=Path.cwd())


def environment_of(container: str, node: str) -> list[str]:
    """What the node's main process was started with: NAME=VALUE. Only its own user may look."""
    process = on(container, "systemctl", "show", "--property=MainPID", "--value", f"clusterkit-{node}").strip()
    user = on(container, "stat", "-c", "%U", f"/proc/{process}").strip()
    return on(container, "cat", f"/proc/{process}/environ", user=user).rstrip("\0").split("\0")


def changed(recap: dict[str, dict[str, int]]) -> dict[str, int]:
    assert {host: (said["failed"], said["unreachable"]) for host, said in recap.items()} == dict.fromkeys(recap, (0, 0))
    return {host: said["changed"] for host, said in recap.items()}


def test_the_playbook_makes_a_node_of_a_host_and_changes_nothing_again(
    cluster_name: str, folder: Folder, hosts: Callable[[dict[str, str]], Hosts]
) -> None:
    folder.write(
        r"""
components:
  registry:
    kind: etcd
    replicas: 1
    environment: {ODD: "first\nsecond 100% \"$$HOME\" \\ {{ '{{ no }}' }}"}
"""
    )
    made = hosts({"registry-1": "etcd"})
    assert changed(made.play())["registry-1"] > 0
    host = f"{cluster_name}-registry-1"
    environment = environment_of(host, "registry-1")
    assert 'ODD=first\nsecond 100% "$HOME" \\ {{ no }}' in environment
    assert on(host, "env", *environment, "etcdctl", "put", "colour", "green") == "OK\n"
    assert on(host, "env", *environment, "etcdctl", "get", "colour") == "colour\ngreen\n"
    assert on(host, "systemctl", "is-enabled", "clusterkit-registry-1") == "enabled\n"
    assert on(host, "stat", "-c", "%a %U", "/etc/clusterkit/secrets.json") == "600 root\n"
    for path in ("/etc/etcd/etcd.yml", "/etc/clusterkit/secrets.json"):
        assert on(host, "cat", path) == (folder.path / f"out/nodes/registry-1{path}").read_text()
    assert changed(made.play()) == {"registry-1": 0}


@pytest.mark.long
def test_the_playbook_makes_a_whole_cluster_of_hosts(
    cluster_name: str, folder: Folder, hosts: Callable[[dict[str, str]], Hosts]
) -> None:
    (folder.path / "app").mkdir()
    (folder.path / "app/page.html").write_text("first\n")
    folder.write(
        NINE
        + """
  page:
    kind: service
    replicas: 1
    command: [python3, -m, http.server, "8080", --directory, /srv/app]
    mounts: ["./app:/srv/app:ro"]
    ports: {http: 8080}
    health: {http: {port: http, path: /page.html}}
    depends_on: [sentinel]
"""
    )
    kinds = {"registry": "etcd", "cache": "redis", "sentinel": "redis-sentinel"}
    nodes = {f"{name}-{index}": kind for name, kind in kinds.items() for index in (1, 2, 3)}
    made = hosts({**nodes, "page-1": "service"})
    assert min(changed(made.play()).values()) > 0

    inventory = yaml.safe_load((folder.path / "out/inventory.yml").read_text())["all"]["hosts"]

    def at(node: str, *argv: str) -> str:
        environment = [f"{name}={value}" for name, value in inventory[node]["clusterkit_environment"].items()]
        return on(f"{cluster_name}-{node}", "env", *environment, *argv)

    assert at("registry-1", "etcdctl", "put", "colour", "red") == "OK\n"
    assert at("registry-3", "etcdctl", "get", "colour") == "colour\nred\n"
    refused = ("docker", "exec", f"{cluster_name}-registry-3", "env", "ETCDCTL_API=3", "etcdctl", "get", "colour")
    run(*refused, folder=folder.path, code=1)
    assert at("cache-1", "redis-cli", "set", "colour", "green") == "OK\n"
    until(lambda: at("cache-2", "redis-cli", "get", "colour") == "green\n", "a replica has it")
    quorum = at("sentinel-3", "redis-cli", "-p", "26379", "sentinel", "ckquorum", "cache")
    assert quorum.startswith("OK 3 usable Sentinels")
    ask = "import urllib.request as u; print(u.urlopen('http://page-1:8080/page.html').read().decode(), end='')"
    assert on(f"{cluster_name}-cache-1", "python3", "-c", ask) == "first\n"
    assert changed(made.play()) == dict.fromkeys([*nodes, "page-1"], 0)
    (folder.path / "app/page.html").write_text("second\n")
    folder.run("render", "-o", "out", "--subnet", _subnet(folder))
    again = changed(made.play())
    assert {node for node, number in again.items() if number} == {"page-1"}
    assert on(f"{cluster_name}-cache-1", "python3", "-c", ask) == "second\n"


def _subnet(folder: Folder) -> str:
    (found,) = re.findall(r"subnet: (\S+)", (folder.path / "out/docker-compose.yml").read_text())
    return str(found)
