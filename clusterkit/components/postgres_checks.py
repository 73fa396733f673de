"""L3. testinfra checks of a node of postgres: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.postgres import CONFIG, DATA


def test_configuration_is_for_postgres_alone(host: Any) -> None:
    """It has passwords in it."""
    config = host.file(CONFIG)
    assert config.user == "postgres"
    assert not config.mode & 0o077, f"{CONFIG} has mode {config.mode:o}: others may read its passwords"


def test_data_is_for_postgres_alone(host: Any) -> None:
    """The server does not start on a folder that others may read."""
    data = host.file(f"{DATA}/main")
    assert data.is_directory
    assert data.user == "postgres"
    assert not data.mode & 0o077, f"{DATA}/main has mode {data.mode:o}: others may read it"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"


def test_serves_on_the_node_itself(host: Any) -> None:
    host.check_output("pg_isready -h /var/run/postgresql")


def test_pages_have_checksums(host: Any) -> None:
    assert host.check_output("psql -h /var/run/postgresql -U postgres -d postgres -Atc 'SHOW data_checksums'") == "on"
