"""L3. testinfra checks of a node of rabbitmq: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.rabbitmq import CONFIG, COOKIE, DATA


def test_configuration_is_for_rabbitmq_alone(host: Any) -> None:
    file = host.file(CONFIG)
    assert file.is_file
    assert not file.mode & 0o007, f"{CONFIG} has mode {file.mode:o}: it holds a password, and others may read it"


def test_cookie_is_for_rabbitmq_alone(host: Any) -> None:
    cookie = host.file(COOKIE)
    assert cookie.user == "rabbitmq"
    assert cookie.mode == 0o400, f"{COOKIE} has mode {cookie.mode:o}; Erlang takes none but 400"


def test_data_is_for_rabbitmq_alone(host: Any) -> None:
    data = host.file(DATA)
    assert data.is_directory
    assert data.user == "rabbitmq"
    assert not data.mode & 0o007, f"{DATA} has mode {data.mode:o}: others may read it"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"
