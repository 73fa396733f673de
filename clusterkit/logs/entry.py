"""L8. One entry of the merged timeline."""

from __future__ import annotations

from typing import Literal, NamedTuple

OWN = "clusterkit"
"""The node (and component) under which clusterkit's own steps appear."""


class LogEntry(NamedTuple):
    """What a node wrote at one moment; `text` holds several lines where they belong together, as a stack trace.

    time_ns     since 1970, when the runtime took the (first) line
    level       debug, info, warning, error, critical; "" where the text does not say
    runtime_id  the container or machine that wrote it; "" for clusterkit's own steps
    seq         the number of the (first) line among those read from this node, from 0

    A NamedTuple, because one is made for each line, and a frozen dataclass takes five times as long.
    """

    time_ns: int
    node: str
    component: str
    zone: str
    stream: Literal["stdout", "stderr", "own"]
    level: str
    text: str
    runtime_id: str
    seq: int
