"""examples/trace: one request, two components, one id."""

from __future__ import annotations

import http.client
import json
import shutil
from pathlib import Path

from tests.integration.conftest import Folder

EXAMPLE = Path(__file__).parents[2] / "examples" / "trace"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def _get(folder: Folder, headers: dict[str, str]) -> tuple[int, str | None]:
    host, _, port = folder.run("port", "shop-1", "http").stdout.strip().partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/orders/7", headers=headers)
    answer = connection.getresponse()
    connection.close()
    return answer.status, answer.headers["Trace-Id"]


def _said(folder: Folder, trace: str) -> dict[str, list[str]]:
    """node -> its messages. Lines of two nodes that are written within a millisecond may come in either order."""
    said: dict[str, list[str]] = {}
    for line in folder.run("logs", "--trace", trace, "--format", "json").stdout.splitlines():
        one = json.loads(line)
        said.setdefault(one["node"], []).append(json.loads(one["text"])["message"])
    return said


def test_one_request_is_followed_through_two_components(folder: Folder) -> None:
    text = (EXAMPLE / "clusterkit.yml").read_text()
    folder.write(text.replace("name: trace\n", ""))
    shutil.copy(EXAMPLE / "steps.py", folder.path)
    folder.run("up")

    status, trace = _get(folder, {})
    assert status == 200
    assert trace
    assert _said(folder, trace) == {"shop-1": ["request", "asked", "answer"], "stock-1": ["request", "answer"]}

    folder.run("kill", "stock-1")
    assert _get(folder, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}) == (200, TRACE)
    assert _said(folder, TRACE) == {
        "shop-1": ["request", "no answer", "asked", "answer"],
        "stock-2": ["request", "answer"],
    }
