"""Variables for programs on this machine."""

from __future__ import annotations

import shlex

from clusterkit.cli.env import _FORMATS, variables
from clusterkit.components.redis import RedisOptions
from clusterkit.components.registry import Registry
from clusterkit.components.service import ServiceOptions
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, allocate, plan


def test_addresses_are_those_of_this_machine() -> None:
    registry = Registry()
    hidden = ServiceOptions.model_validate({"command": "run", "ports": {"http": {"port": 80, "publish": False}}})
    topology = Topology(
        "shop",
        {
            "my-cache": ComponentSpec("my-cache", "redis", RedisOptions(), replicas=2, publish={"client": 7001}),
            "api": ComponentSpec("api", "service", hidden),
        },
    )
    allocation = allocate(topology, registry, "10.9.8.0/24", Allocation("10.9.8.0/24"), iter(()), lambda: "s3cret")
    planned = plan(topology, registry, allocation)
    assert variables(planned, ("my-cache", "api")) == {
        "MY_CACHE_ENDPOINTS": "127.0.0.1:7001,127.0.0.1:7002",
        "MY_CACHE_PRIMARY": "127.0.0.1:7001",
        "MY_CACHE_PASSWORD": "s3cret",
        "MY_CACHE_URL": "redis://:s3cret@127.0.0.1:7001/0",
    }


def test_a_shell_reads_what_was_meant() -> None:
    written = _FORMATS["shell"]("URL", "it's $HOME & more")
    assert shlex.split(written) == ["export", "URL=it's $HOME & more"]
