"""L3. testinfra checks of a node of redis: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.redis import DATA, OPTIONS, ROLE_FILE


def test_configuration_is_there(host: Any) -> None:
    assert host.file(OPTIONS).is_file


def test_server_can_keep_its_role(host: Any) -> None:
    """It writes a new file beside the old one and renames it: the folder must be its own too."""
    assert host.file(DATA).user == "redis"
    assert host.file(ROLE_FILE).user == "redis"


def test_secrets_are_not_for_others(host: Any) -> None:
    for path in (OPTIONS, ROLE_FILE):
        mode = host.file(path).mode
        assert not mode & 0o007, f"{path} has mode {mode:o}: others may read its password"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"


def test_serves_on_the_node_itself(host: Any) -> None:
    assert host.check_output("redis-cli ping") == "PONG"
