"""L9, pure. A schedule as YAML: fault by fault, with the time and the chance of each, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from clusterkit.chaos.base import Fault, Target
from clusterkit.chaos.fields import fields_of
from clusterkit.chaos.schedule import Planned
from clusterkit.units import Duration

if TYPE_CHECKING:
    import yaml


def items(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """The items of a scenario's `faults`. Read again, and scheduled by any seed, they are the same schedule."""
    return [_item(one) for one in planned]


def text(
    name: str,
    planned: Sequence[Planned],
    time: Duration,
    workload: Mapping[str, Any] | None = None,
    expect: Mapping[str, Any] | None = None,
) -> str:
    """A file that holds one scenario: `clusterkit chaos-test FILE` runs it. `name` is told in its first line.

    `workload` and `expect` are as they stand in YAML already (WorkloadSpec.written).
    """
    head: dict[str, Any] = {"time": str(time), "workload": workload, "expect": expect}
    lines = [f"{word}: {_flow(value)}" for word, value in head.items() if value is not None]
    lines += ["faults:", *(f"  - {_flow(_escaped(item))}" for item in items(planned))] if planned else ["faults: []"]
    return "\n".join([f"# {name}", *lines, ""])


def _flow(value: Any) -> str:
    """On one line."""
    import yaml

    said: str = yaml.dump(value, Dumper=_dumper(), default_flow_style=True, sort_keys=False, width=float("inf"))
    return said.removesuffix("...\n").strip()


@cache
def _dumper() -> type[yaml.SafeDumper]:
    """Its YAML is 1.1, that of our loader 1.2: text that is a number there alone (1e3, 08) gets quotes."""
    import yaml

    from clusterkit.model.load import scalar

    class Dumper(yaml.SafeDumper):
        pass

    def represent(dumper: Dumper, text: str) -> yaml.ScalarNode:
        style = None if isinstance(scalar(text), str) else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)

    Dumper.add_representer(str, represent)
    return Dumper


def _escaped(value: Any) -> Any:
    """So that no `$` is taken for a variable: those of the topology were replaced when it was read."""
    if isinstance(value, Mapping):
        return {name: _escaped(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(one) for one in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _item(one: Planned) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if one.start_s:
        item["at"] = str(Duration(one.start_s))
    if one.end_s is not None:
        item["for"] = str(Duration(round(one.end_s - one.start_s, 3)))
    if one.stagger_s:
        item["stagger"] = str(Duration(one.stagger_s))
    item[one.fault.name] = _fields(one.fault)
    item["seed"] = one.seed
    return item


def _fields(fault: Fault) -> dict[str, Any] | None:
    """Its fields as one writes them, without those that are as they would be anyway."""
    found = {
        name: [_plain(each) for each in value] if spec.is_many else _plain(value)
        for name, spec in fields_of(type(fault)).items()
        if (value := getattr(fault, name)) != spec.default
    }
    return found or None


def _plain(value: Any) -> Any:
    if isinstance(value, Target):
        return value.words[0] if len(value.words) == 1 else list(value.words)
    return value if isinstance(value, bool | int | float) else str(value)
