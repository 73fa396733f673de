"""L3. testinfra checks of a node of haproxy: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.haproxy import CONFIG


def test_configuration_is_one_that_haproxy_takes(host: Any) -> None:
    host.check_output("haproxy -c -q -f %s", CONFIG)


def test_it_does_not_run_as_root(host: Any) -> None:
    """`ps` is not in every image."""
    owners = host.check_output("stat -c %U $(grep -lx haproxy /proc/[0-9]*/comm)").split()
    assert set(owners) == {"haproxy"}
