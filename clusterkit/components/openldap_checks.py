"""L3. testinfra checks of a node of OpenLDAP: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.openldap import CONFIG, DATA


def test_password_is_not_for_others(host: Any) -> None:
    assert not host.file(CONFIG).mode & 0o007


def test_data_is_for_the_server_alone(host: Any) -> None:
    data = host.file(DATA)
    assert data.is_directory
    assert data.user == "openldap"
    assert not data.mode & 0o007, f"{DATA} has mode {data.mode:o}: others may read it"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"


def test_configuration_is_sound(host: Any) -> None:
    said = host.run("slaptest -u -f %s", CONFIG)
    assert said.rc == 0, said.stderr


def test_data_is_served(host: Any) -> None:
    said = host.check_output("ldapsearch -x -LLL -s base dn")
    assert said.startswith("dn: dc="), said
