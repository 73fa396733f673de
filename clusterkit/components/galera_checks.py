"""L3. testinfra checks of a node of Galera: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.galera import CONFIG, DATA, INIT


def test_configuration_is_there(host: Any) -> None:
    assert host.file(CONFIG).is_file


def test_password_is_not_for_others(host: Any) -> None:
    assert not host.file(INIT).mode & 0o007


def test_data_is_for_the_server_alone(host: Any) -> None:
    data = host.file(DATA)
    assert data.is_directory
    assert data.user == "mysql"
    assert not data.mode & 0o007, f"{DATA} has mode {data.mode:o}: others may read it"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"


def test_node_is_synced(host: Any) -> None:
    said = host.check_output("mariadb -N -e \"SHOW STATUS LIKE 'wsrep_local_state_comment'\"")
    assert said.split()[1] == "Synced", said
