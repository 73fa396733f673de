"""A rendered folder: golden text for one topology, and what must hold for all."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusterkit import paths
from clusterkit.check_topology import read_topology
from clusterkit.errors import EnvironmentTrouble, UsageError
from clusterkit.model.image import Image, Install, Pull
from clusterkit.plan import Allocation, Plan, plan
from clusterkit.render.folder import notes, outputs
from clusterkit.render.hosts import groups, machines, stages
from clusterkit.render.parts import images
from clusterkit.render.write import FIRST_PORT, MARKER, SUBNET, fixed_allocation, write

RENDERED = Path(__file__).parents[2] / "fixtures" / "rendered"


def secrets() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"secret-{next(numbers)}"


def planned(file: Path, folder: Path, subnet: str = SUBNET) -> Plan:
    topology, registry = read_topology(file, folder=file.parent, environ={})
    return plan(topology, registry, fixed_allocation(folder, topology, registry, subnet, secrets()))


def tags(made: Plan) -> Mapping[Image, str]:
    return {
        image: image.reference if isinstance(image, Pull) else f"clusterkit/{getattr(image, 'role', 'build-x')}:tag"
        for image in images(made)
    }


def render(file: Path, folder: Path, subnet: str = SUBNET) -> Plan:
    made = planned(file, folder, subnet)
    write(folder, made, outputs(made, tags(made)))
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    render(RENDERED / "shop.yml", tmp_path / "out")
    return tmp_path / "out"


def read(path: Path) -> Any:
    """YAML as PyYAML reads it; `!unsafe` text is text."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda _loader, node: node.value)
    return yaml.load(path.read_text(), Loader)  # noqa: S506  a safe loader


def service(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = read(folder / "docker-compose.yml")["services"][name]
    return found


def test_golden_text(shop: Path) -> None:
    """With UPDATE_GOLDEN=1 in the environment the golden text is written anew: look at the difference."""
    golden = RENDERED / "shop"
    made = {name: text for name, text in tree(shop).items() if not name.startswith(("roles/", "tasks/"))}
    for copied in ("Vagrantfile", "site.yml", "start.sh"):
        made.pop(copied)
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(golden, ignore_errors=True)
        for name, text in made.items():
            (golden / name).parent.mkdir(parents=True, exist_ok=True)
            (golden / name).write_bytes(text)
    kept = tree(golden)
    assert sorted(made) == sorted(kept)
    for name, text in made.items():
        lines = (kept[name].decode().splitlines(), text.decode().splitlines())
        assert list(difflib.unified_diff(*lines, f"golden {name}", f"rendered {name}", lineterm="")) == []


def test_the_same_bytes_again(shop: Path, tmp_path: Path) -> None:
    render(RENDERED / "shop.yml", tmp_path / "other")
    assert tree(tmp_path / "other") == tree(shop)


def test_it_stands_alone(shop: Path) -> None:
    for name in ("roles/common", "roles/etcd", "roles/redis", "roles/redis-sentinel", "roles/service"):
        assert (shop / name / "tasks/main.yml").read_bytes() == (
            paths.playbooks() / name / "tasks/main.yml"
        ).read_bytes()
    assert (shop / "tasks/stage.yml").is_file()
    assert (shop / "Vagrantfile").read_bytes() == paths.vagrantfile().read_bytes()
    assert str(RENDERED) not in "".join(text.decode() for text in tree(shop).values())


def test_what_holds_a_password_is_for_its_owner_alone(shop: Path) -> None:
    for path in (path for path in shop.rglob("*") if path.is_file()):
        is_secret = b"secret-" in path.read_bytes()
        assert not is_secret or stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((shop / "nodes/cache-1/etc/redis/options.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((shop / "site.yml").stat().st_mode) == 0o644


def test_what_compose_would_fill_in_is_doubled(shop: Path) -> None:
    assert service(shop, "api-1")["command"] == ["/srv/app/api.py", "costs 5$$"]
    assert service(shop, "registry-setup")["command"][-1].splitlines()[2] == "login=$$ETCDCTL_USER"


def test_a_component_starts_when_what_it_needs_serves_and_is_set_up(shop: Path) -> None:
    needs = service(shop, "api-1")["depends_on"]
    assert needs == {
        "registry-1": {"condition": "service_healthy"},
        "registry-setup": {"condition": "service_completed_successfully"},
        "sentinel-1": {"condition": "service_healthy"},
    }


def test_files_are_put_in_by_root_and_the_program_runs_as_its_user(shop: Path) -> None:
    cache = service(shop, "cache-2")
    assert cache["user"] == "0"
    assert cache["entrypoint"][:3] == ["sh", "/clusterkit/start.sh", "redis"]
    assert "seed 0640 redis /var/lib/redis/redis.conf --" in " ".join(cache["entrypoint"])
    assert service(shop, "web-1")["user"] == "33:33"


def test_a_users_image_is_as_it_is(shop: Path) -> None:
    web = service(shop, "web-1")
    assert web["image"] == "web:2"
    assert {"entrypoint", "command", "pull_policy"}.isdisjoint(web)
    assert web["ports"] == ["127.0.0.1:30001:80"]
    assert "web-1" not in read(shop / "inventory.yml")["all"]["hosts"]


def test_no_port_twice(shop: Path) -> None:
    services = read(shop / "docker-compose.yml")["services"].values()
    ports = sorted(int(port.split(":")[1]) for one in services for port in one.get("ports", ()))
    assert ports == list(range(FIRST_PORT, FIRST_PORT + 6))


def test_no_container_takes_itself_for_a_node_of_clusterkit(shop: Path) -> None:
    assert all("labels" not in one for one in read(shop / "docker-compose.yml")["services"].values())


def test_the_inventory_has_a_group_for_each_component_kind_and_zone(shop: Path) -> None:
    found = read(shop / "inventory.yml")["all"]
    assert sorted(found["children"]) == [
        "api", "cache", "kind_etcd", "kind_redis", "kind_redis_sentinel", "kind_service", "registry", "sentinel",
        "zone_a", "zone_b",
    ]  # fmt: skip
    assert list(found["children"]["cache"]["hosts"]) == ["cache-1", "cache-2"]


def test_every_file_in_the_inventory_is_there(shop: Path) -> None:
    for name, host in read(shop / "inventory.yml")["all"]["hosts"].items():
        for file in (*host["clusterkit_files"], *host["clusterkit_seeds"]):
            assert (shop / f"nodes/{name}{file['path']}").is_file()


def test_what_ansible_would_fill_in_is_unsafe(shop: Path) -> None:
    assert "PATTERN: !unsafe '{{ name }}'" in (shop / "inventory.yml").read_text()


def test_stages() -> None:
    made = planned(RENDERED / "shop.yml", Path("nowhere"))
    assert stages(made) == {"registry": 1, "cache": 1, "sentinel": 2, "api": 3, "web": 1}


def test_names_that_ansible_keeps_for_itself(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text("name: x\ncomponents: {ungrouped: {kind: redis}, my-own: {kind: redis}}\n")
    made = planned(tmp_path / "x.yml", tmp_path / "out")
    assert groups(made.node("ungrouped-1"))[0] == "ungrouped_"
    assert groups(made.node("my-own-1"))[0] == "my_own"


def test_vagrant_json_is_what_the_vagrantfile_reads(shop: Path) -> None:
    """Every key that the Vagrantfile fetches is there, and no other."""
    ruby = paths.vagrantfile().read_text()
    (of_all,) = re.findall(r"JSON\.parse\(.*\)\.fetch\(\"(\w+)\"\)", ruby)
    needed = set(re.findall(r"machine\.fetch\(\"(\w+)\"\)", ruby))
    offered = set(re.findall(r"machine\.fetch\(\"(\w+)\"", ruby))
    found = json.loads((shop / "vagrant.json").read_text())
    assert list(found) == [of_all]
    for machine in found[of_all]:
        assert needed <= set(machine) <= offered
    cache = next(machine for machine in found[of_all] if machine["name"] == "cache-1")
    assert cache["memory"] == 600
    assert cache["groups"] == ["cache", "kind_redis", "zone_a"]


def test_notes_say_what_was_left_behind(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.yml").write_text(
        "name: x\n"
        "components:\n"
        "  built: {kind: service, build: ., mounts: [./pipe:/pipe]}\n"
        "  cache: {kind: redis, image: 'redis:7', cpus: 1, data: loop}\n"
        "links:\n  - {from: cache, to: built, latency: 10ms}\n"
    )
    made = planned(tmp_path / "notes.yml", tmp_path / "out")
    assert [re.sub(rf"{re.escape(str(tmp_path))}/", "", note) for note in notes(made)] == [
        "built is an image of yours: it is in docker-compose.yml, not in the inventory",
        "built has neither a port nor a health check: nobody waits until it serves",
        "built: pipe cannot be copied, and stays where it is",
        "cache is redis:7 in docker-compose.yml; on hosts it is what their distribution has",
        "cpus and memory of cache are limited in containers, and not on hosts",
        "cache has no disk of its own (data: loop), but a volume",
        "the delays and losses of links: are made by clusterkit alone, and are left out",
    ]
    assert [machine["name"] for machine in machines(made)["machines"]] == ["cache-1", "cache-2", "cache-3"]


def test_a_build_context_comes_along_but_not_into_itself(tmp_path: Path) -> None:
    for name in ("Dockerfile", "src/main.py", ".git/config", ".clusterkit/secret", "out/docker-compose.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out/docker-compose.yml").unlink()
    (tmp_path / "src/main.py").chmod(0o755)
    (tmp_path / "x.yml").write_text("name: x\ncomponents: {api: {kind: service, build: ., ports: {http: 80}}}\n")
    render(tmp_path / "x.yml", tmp_path / "out")
    assert sorted(name for name in tree(tmp_path / "out") if name.startswith("build/")) == [
        "build/api/Dockerfile", "build/api/src/main.py", "build/api/x.yml",
    ]  # fmt: skip
    assert os.access(tmp_path / "out/build/api/src/main.py", os.X_OK)
    assert service(tmp_path / "out", "api-2")["build"] == {"context": "./build/api", "dockerfile": "Dockerfile"}
    assert not (tmp_path / "out/inventory.yml").exists()


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty, and not made by clusterkit render"):
        render(RENDERED / "shop.yml", tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine.txt": b"mine"}
    with pytest.raises(UsageError, match="is not a folder"):
        render(RENDERED / "shop.yml", tmp_path / "out/mine.txt")


def test_rendered_again_it_replaces_its_own_and_keeps_the_rest(shop: Path, tmp_path: Path) -> None:
    (shop / "group_vars").mkdir()
    (shop / "group_vars/all.yml").write_text("mine")
    (shop / "site.yml").write_text("edited")
    (tmp_path / "less.yml").write_text(
        "name: shop\ncomponents: {new: {kind: redis}, cache: {kind: redis, replicas: 1}}\n"
    )
    before = read(shop / "inventory.yml")["all"]["hosts"]["cache-1"]
    render(tmp_path / "less.yml", shop)
    after = read(shop / "inventory.yml")["all"]["hosts"]["cache-1"]
    assert (after["ansible_host"], after["clusterkit_environment"]) == (
        before["ansible_host"],
        before["clusterkit_environment"],
    )
    assert (shop / "group_vars/all.yml").read_text() == "mine"
    assert (shop / "site.yml").read_bytes() == (paths.playbooks() / "site.yml").read_bytes()
    assert sorted(path.name for path in (shop / "nodes").iterdir()) == ["cache-1", "new-1", "new-2", "new-3"]
    assert not (shop / "mounts").exists()


def test_a_port_that_the_user_gives_away_is_taken_from_its_node(shop: Path, tmp_path: Path) -> None:
    text = "name: shop\ncomponents: {cache: {kind: redis, replicas: 2}, new: {kind: redis, publish: {client: 30001}}}\n"
    (tmp_path / "x.yml").write_text(text)
    assert service(shop, "cache-1")["ports"] == ["127.0.0.1:30002:6379"]
    render(tmp_path / "x.yml", shop)
    services = read(shop / "docker-compose.yml")["services"]
    assert [one["ports"][0].split(":")[1] for one in services.values()] == ["30006", "30007", "30001", "30002", "30003"]


def test_a_damaged_marker_is_told(shop: Path) -> None:
    (shop / MARKER).write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        render(RENDERED / "shop.yml", shop)


def test_folders_that_somebody_removed_are_made_again(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "less.yml").write_text("name: shop\ncomponents: {cache: {kind: redis, replicas: 1}}\n")
    shutil.rmtree(shop / "nodes/registry-1")
    render(tmp_path / "less.yml", shop)
    assert [path.name for path in (shop / "nodes").iterdir()] == ["cache-1"]


def test_interrupted_it_is_still_ours(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "less.yml").write_text("name: shop\ncomponents: {alone: {kind: redis, replicas: 1}}\n")

    def stop(*_args: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clusterkit.render.write._remove_empty", stop)
        with pytest.raises(KeyboardInterrupt):
            render(tmp_path / "less.yml", shop)
    render(tmp_path / "less.yml", shop)
    assert [path.name for path in (shop / "nodes").iterdir()] == ["alone-1"]
    assert sorted(json.loads((shop / MARKER).read_text())["files"]) == sorted(set(tree(shop)) - {MARKER})


def test_another_subnet_is_another_allocation(shop: Path) -> None:
    made = render(RENDERED / "shop.yml", shop, "10.1.2.0/24")
    assert [node.member.address for node in made.nodes][:2] == ["10.1.2.11", "10.1.2.12"]
    with pytest.raises(EnvironmentTrouble, match="has no address left"):
        render(RENDERED / "shop.yml", shop, "10.1.2.0/28")


def test_the_allocation_of_a_cluster_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    file.write_text("name: x\ncomponents: {cache: {kind: redis, replicas: 1}}\n")
    topology, registry = read_topology(file, folder=tmp_path, environ={})
    live = Allocation(
        "10.4.4.0/24", {"cache-1": "10.4.4.99"}, {"cache-1": {"client": 23456}}, {"cache": {"password": "p"}}
    )
    made = plan(topology, registry, live)
    write(tmp_path / "out", made, outputs(made, {Install("redis"): "redis:x"}))
    cache = service(tmp_path / "out", "cache-1")
    assert cache["networks"]["cluster"]["ipv4_address"] == "10.4.4.99"
    assert cache["ports"] == ["127.0.0.1:23456:6379"]
    assert cache["environment"] == {"REDISCLI_AUTH": "p"}
