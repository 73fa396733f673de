"""L16. The pytest plugin: the fixtures `cluster` and `chaos`, and the cluster's log lines beside a test that failed.

pytest loads it in every run of an environment that has clusterkit, so that nothing of clusterkit is imported before a
fixture is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clusterkit.api import Cluster
    from clusterkit.chaos.base import Effect

_MOST_LINES = 100
_MARK = "clusterkit(topology): the topology whose cluster the test needs"
_BEGUN = pytest.StashKey[int]()
_CLUSTERS = pytest.StashKey["dict[Path, Cluster]"]()

Break = Callable[..., "AbstractContextManager[Effect]"]
"""`chaos("kill", target="leader of registry")`: see Cluster.fault."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clusterkit")
    group.addoption("--clusterkit-topology", metavar="FILE", help="the topology of the fixture `cluster`")
    group.addoption("--clusterkit-keep", action="store_true", help="leave clusters up when the tests have ended")
    parser.addini("clusterkit_topology", "the topology of the fixture `cluster`; clusterkit.yml beside the tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A healthy cluster of the topology, brought up by the first test that needs it and shared by all."""
    file = _topology(request)
    known = request.config.stash.setdefault(_CLUSTERS, {})
    if file not in known:
        known[file] = _brought_up(file, request.config)
    else:
        known[file].heal()
    return known[file]


@pytest.fixture
def chaos(cluster: Cluster) -> Iterator[Break]:
    """Breaks the cluster: `with chaos("isolate", target="leader of registry"): ...`. After the test all is healed."""
    try:
        yield cluster.fault
    finally:
        cluster.heal()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Takes down what was brought up; a cluster that was up before the tests is left, healed."""
    for one in session.config.stash.get(_CLUSTERS, {}).values():
        one.__exit__(None, None, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_BEGUN] = time.time_ns()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the cluster said meanwhile."""
    report = yield
    used: Cluster | None = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and call.when in ("setup", "call") and used is not None:
        report.sections.append((f"cluster {used.name}", _said(used, item.stash[_BEGUN])))
    return report


def _said(used: Cluster, since_ns: int) -> str:
    """The last lines of all nodes since the test began, and before them what were errors, and faults."""
    from clusterkit.api import lines
    from clusterkit.errors import ClusterkitError
    from clusterkit.logs.entry import OWN
    from clusterkit.logs.parse import is_at_least

    try:
        entries = list(used.logs(since_ns=since_ns))
    except ClusterkitError as error:
        return f"its lines cannot be read: {error}"
    last = entries[-_MOST_LINES:]
    before = (entry for entry in entries[:-_MOST_LINES] if entry.node == OWN or is_at_least(entry.level, "error"))
    worse = list(before)[-_MOST_LINES:]
    left_out = len(entries) - len(last) - len(worse)
    note = f"({left_out} lines are left out: clusterkit logs shows all)\n" if left_out else ""
    return note + lines([*worse, *last])


def _topology(request: pytest.FixtureRequest) -> Path:
    """Named by the marker, the option, the ini file; else the default one in the folder of the tests, or above it."""
    marker = request.node.get_closest_marker("clusterkit")
    option = request.config.getoption("--clusterkit-topology")
    ini = request.config.getini("clusterkit_topology")
    if marker is not None and marker.args:
        return Path(request.path.parent, marker.args[0]).resolve()
    if option or ini:
        return Path(option).resolve() if option else Path(request.config.rootpath, ini).resolve()
    from clusterkit.model.files import DEFAULT_FILES

    for folder in (request.path.parent, *request.path.parent.parents):
        for name in DEFAULT_FILES:
            if (folder / name).is_file():
                return folder / name
        if folder == request.config.rootpath:
            break
    pytest.fail(
        f"there is no {DEFAULT_FILES[0]} beside {request.path.name}; put one there, or name one: "
        "@pytest.mark.clusterkit('FILE'), --clusterkit-topology FILE, or clusterkit_topology in the ini file",
        pytrace=False,
    )


def _brought_up(file: Path, config: pytest.Config) -> Cluster:
    """Each worker of pytest-xdist has a cluster of its own, since tests of different workers run at once."""
    from clusterkit.api import Cluster
    from clusterkit.errors import ClusterkitError

    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    try:
        return Cluster.up(file, suffix=worker, keep=config.getoption("--clusterkit-keep"))
    except ClusterkitError as error:
        pytest.fail("\n".join([str(error), *getattr(error, "__notes__", ())]), pytrace=False)
