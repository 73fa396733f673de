"""L13. A run as one HTML page that needs no network: verdict, evidence, pictures, and the log lines around it all."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from clusterkit.errors import ClusterkitError
from clusterkit.history.history import Call
from clusterkit.logs.kept import read_kept
from clusterkit.report.figure import figure
from clusterkit.report.run import Run

_AROUND_S = 2.0
_MOST_PLACES = 8
_MOST_LINES = 60
_TEMPLATE = Path(__file__).with_name("page.html.j2")


def document(run: Run) -> str:
    """The whole page."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        run=run,
        said=run.said,
        result=run.result,
        faults=run.faults(),
        places=_places(run),
        figure=_embedded(figure(run)),
        plotly=_plotly(),
        number=_number,
        facts=_facts(run),
    )


@cache
def _plotly() -> str:
    """plotly.js, as the Python package ships it, packed: a browser unpacks it by itself."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise ClusterkitError("the package plotly is missing", mend="install it: pip install plotly")
    script = Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js")
    return base64.b64encode(gzip.compress(script.read_bytes(), mtime=0)).decode()


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that can stand inside a script element, whatever a log line or an error says."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _places(run: Run) -> list[dict[str, Any]]:
    """The calls that the evidence is about, each with the lines that nodes wrote around it, and itself among them."""
    wanted = run.evidence_indices()
    calls = [call for call in run.history.calls() if wanted.intersection(call.indices)]
    chosen = [*calls[: _MOST_PLACES - 1], *calls[max(_MOST_PLACES - 1, len(calls) - 1) :]]
    places: list[dict[str, Any]] = [
        {"title": str(call), "from_s": _begin(call) - _AROUND_S, "to_s": _end(call) + _AROUND_S, "lines": []}
        for call in chosen
    ]
    started_ns = run.said.get("started_ns")
    if places and isinstance(started_ns, int):
        _put_lines(run, places, started_ns)
    for place, call in zip(places, chosen, strict=True):
        place["is_silent"] = not place["lines"]
        place["lines"] = sorted([*place["lines"], *_itself(call)], key=lambda line: line["at"])
    return places


def _put_lines(run: Run, places: Sequence[dict[str, Any]], started_ns: int) -> None:
    """The nearest lines; `left_out` counts the others of that time."""
    for entry in read_kept(run.folder):
        at = (entry.time_ns - started_ns) / 1e9
        for place in places:
            if place["from_s"] <= at <= place["to_s"]:
                place["lines"].append({"at": at, "node": entry.node, "level": entry.level, "text": entry.text})
    for place in places:
        middle = (place["from_s"] + place["to_s"]) / 2
        nearest = sorted(place["lines"], key=lambda line: abs(line["at"] - middle))[:_MOST_LINES]
        place["left_out"] = len(place["lines"]) - len(nearest)
        place["lines"] = nearest


def _itself(call: Call) -> list[dict[str, Any]]:
    """The call as two lines of a log."""
    node = call.node or f"process {call.invoke.process}"
    asked = call.f if call.argument is None else f"{call.f} {call.argument!s:.60}"
    lines = [{"at": _begin(call), "node": node, "level": "call", "text": f"a client asks: {asked}"}]
    if call.completion is not None:
        said = " ".join(filter(None, (f"its {call.f} is {call.outcome.value}", call.completion.error)))
        lines.append({"at": _end(call), "node": node, "level": "call", "text": said})
    return lines


def _begin(call: Call) -> float:
    return call.invoke.time_ns / 1e9


def _end(call: Call) -> float:
    return (call.completion or call.invoke).time_ns / 1e9


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return "-" if value is None else str(value)


def _facts(run: Run) -> list[tuple[str, str]]:
    """What one needs to repeat it, and to know what was tested."""
    said = run.said
    found = [
        ("scenario", run.name),
        ("seed", str(said.get("seed", "?"))),
        ("started", _when(said.get("started_ns"))),
        ("cluster", str(said.get("cluster", "?"))),
        ("clusterkit", str(said.get("clusterkit", "?"))),
    ]
    for workload in said.get("workloads", ()):
        found.append(("workload", _words(workload)))
    found.append(("asked for", _words(said.get("expect", {}))))
    for name, one in said.get("components", {}).items():
        found.append((name, f"{one['kind']} {one['version']}, {one['image']}, {one['digest']}"))
    found += [("seconds", _words(run.result.get("seconds", {})))]
    found += [("memory", f"{run.result['memory_mb']} MB at most, clusterkit itself")] if run.result else []
    return [(name, value) for name, value in found if value]


def _words(value: Any) -> str:
    """What stands in a mapping or a list, as words: "kind set, mix (add 9, read 1)"."""
    if isinstance(value, Mapping):
        told = (f"{name} ({_words(one)})" if isinstance(one, Mapping) else f"{name} {_words(one)}"
                for name, one in value.items())  # fmt: skip
        return ", ".join(told)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _number(value)


def _when(started_ns: Any) -> str:
    if not isinstance(started_ns, int):
        return "?"
    return datetime.fromtimestamp(started_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
