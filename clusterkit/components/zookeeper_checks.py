"""L3. testinfra checks of a node of zookeeper: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.zookeeper import CONFIG, DATA, MYID


def test_configuration_is_there(host: Any) -> None:
    assert host.file(CONFIG).is_file


def test_it_is_who_it_was(host: Any) -> None:
    number = host.file(MYID).content_string.strip()
    assert f"server.{number}=" in host.file(CONFIG).content_string, (
        f"{MYID} says {number}, and zoo.cfg has no such server"
    )


def test_data_is_for_zookeeper_alone(host: Any) -> None:
    data = host.file(DATA)
    assert data.is_directory
    assert data.user == "zookeeper"
    assert not data.mode & 0o007, f"{DATA} has mode {data.mode:o}: others may read it"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"
