"""What all tests share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest


@pytest.fixture
def cluster_name() -> Iterator[str]:
    """A fresh cluster name. Whatever carries its label is gone afterwards, whatever happened in the test."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    from clusterkit.providers.engine import connect

    engine = connect()
    label = {"label": f"clusterkit.cluster={name}"}
    for container in engine.containers(all=True, filters=label):
        engine.remove_container(container["Id"], force=True, v=True)
    for network in engine.networks(filters=label):
        engine.remove_network(network["Id"])
    for volume in (engine.volumes(filters=label) or {}).get("Volumes") or []:
        engine.remove_volume(volume["Name"], force=True)
    engine.close()
