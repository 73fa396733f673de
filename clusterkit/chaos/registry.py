"""L9. Finds faults: the package faults/ is scanned, outside packages use the entry point group `clusterkit.faults`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from types import ModuleType

from clusterkit.chaos import faults as shipped
from clusterkit.chaos.base import Fault
from clusterkit.errors import UsageError
from clusterkit.model.words import did_you_mean


@cache
def shipped_faults() -> Mapping[str, type[Fault]]:
    """Ours alone, in the order of families and names: to look for outside ones takes a while."""
    found = [fault for module in _own() for fault in _in(module)]
    order = ("process", "partition", "link", "disk", "power", "clock", "dns", "resource", "zone")
    return {fault.name: fault for fault in sorted(found, key=lambda fault: (order.index(fault.family), fault.name))}


@cache
def faults() -> Mapping[str, type[Fault]]:
    """name -> class, ours first, then those of outside packages."""
    return {**shipped_faults(), **{fault.name: fault for fault in _outside()}}


def find_fault(name: str) -> type[Fault]:
    """Raises: UsageError, with the nearest known name."""
    found = look_up(name)
    if found is None:
        raise UsageError(f'no fault is called "{name}"', mend=did_you_mean(name, faults(), "faults"))
    return found


def look_up(name: str) -> type[Fault] | None:
    """The fault of that name. Of ours, only modules whose text has the name are imported: all of them take a while."""
    folder = resources.files(shipped)
    for module in pkgutil.iter_modules(shipped.__path__):
        if f'"{name}"' in (folder / f"{module.name}.py").read_text():
            for fault in _in(importlib.import_module(f"{shipped.__name__}.{module.name}")):
                if fault.name == name:
                    return fault
    return faults().get(name)


def _own() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(shipped.__path__):
        yield importlib.import_module(f"{shipped.__name__}.{module.name}")


def _outside() -> Iterator[type[Fault]]:
    import importlib.metadata

    for point in importlib.metadata.entry_points(group="clusterkit.faults"):
        yield from _in(importlib.import_module(point.value.partition(":")[0]))


def _in(module: ModuleType) -> Iterator[type[Fault]]:
    """Those that the module itself defines and names."""
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Fault) and value.name and value.__module__ == module.__name__:
            yield value
