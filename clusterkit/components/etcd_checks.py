"""L3. testinfra checks of a node of etcd: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

import json
from typing import Any

from clusterkit.components.etcd import CONFIG, DATA


def test_configuration_is_there(host: Any) -> None:
    assert host.file(CONFIG).is_file


def test_data_is_for_etcd_alone(host: Any) -> None:
    data = host.file(DATA)
    assert data.is_directory
    assert data.user == "etcd"
    assert not data.mode & 0o007, f"{DATA} has mode {data.mode:o}: others may read it"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"


def test_serves_on_the_node_itself(host: Any) -> None:
    answers = json.loads(host.check_output("etcdctl endpoint health --write-out=json"))
    assert all(answer["health"] for answer in answers), answers
