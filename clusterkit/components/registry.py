"""L3. Finds components: this package is scanned, outside packages use the entry point group `clusterkit.components`.

A module of this package whose name ends in neither `_client` nor `_checks`, and that has a COMPONENT, is a component.
A topology's `plugins:` name further modules or files.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from clusterkit.components.base import Component
from clusterkit.errors import UsageError

_OWN = ("base", "registry", "conditions")


@cache
def _shipped() -> Mapping[str, str]:
    """kind -> module name, without importing any."""
    names = [module.name for module in pkgutil.iter_modules(importlib.import_module("clusterkit.components").__path__)]
    return {
        name.replace("_", "-"): f"clusterkit.components.{name}"
        for name in names
        if name not in _OWN and not name.endswith(("_client", "_checks"))
    }


class Registry:
    """kind -> Component. Modules are imported when asked for, so that a small topology loads quickly."""

    def __init__(self, plugins: Iterable[str] = ()) -> None:
        self._modules = dict(_shipped())
        self._made: dict[str, Component] = {}
        for point in importlib.metadata.entry_points(group="clusterkit.components"):
            self._modules[point.name] = point.value
        for plugin in plugins:
            component = _load_plugin(plugin)
            self._made[component.kind] = component

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted({*self._modules, *self._made}))

    def __contains__(self, kind: object) -> bool:
        return kind in self._made or kind in self._modules

    def __getitem__(self, kind: str) -> Component:
        """Raises: KeyError for an unknown kind."""
        if kind not in self._made:
            module = importlib.import_module(self._modules[kind].partition(":")[0])
            self._made[kind] = module.COMPONENT
        return self._made[kind]


def _load_plugin(plugin: str) -> Component:
    """`plugin` is a module's dotted name, or the path of a Python file."""
    if not plugin.endswith(".py"):
        try:
            component: Component = importlib.import_module(plugin).COMPONENT
        except (ImportError, AttributeError) as error:
            raise UsageError(f'plugin "{plugin}" could not be loaded: {error}') from error
        return component
    path = Path(plugin)
    spec = importlib.util.spec_from_file_location(f"clusterkit_plugin_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f'plugin "{plugin}" is not a Python file', mend="give the path of a file that has a COMPONENT")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not isinstance(getattr(module, "COMPONENT", None), Component):
        raise UsageError(f'plugin "{plugin}" has no COMPONENT', mend="see docs/adding-a-component.md")
    loaded: Component = module.COMPONENT
    return loaded
