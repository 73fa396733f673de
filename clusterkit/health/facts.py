"""L8. A pytest plugin for testinfra checks: the fixture `node` says which node a check looks at.

The checks run in a process of their own (health/checks.py), which tells the facts in the environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

VARIABLE = "CLUSTERKIT_FACTS"
"""JSON: testinfra's name of the host -> the fields of Node."""


@dataclass(frozen=True)
class Node:
    """The node that a check looks at. `ports`: name -> number inside the node."""

    name: str
    component: str
    kind: str
    zone: str
    address: str
    index: int
    ports: Mapping[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def node(host: Any) -> Node:
    """Whose `host` it is: `node.component`, `node.kind`, `node.name`, `node.zone`, `node.address`, `node.ports`."""
    return Node(**json.loads(os.environ[VARIABLE])[host.backend.name])
