"""L3. Finds components: this package is scanned, outside packages use the entry point group `clusterkit.components`.

A module of this package that has a COMPONENT is one; names that end in `_client`, `_checks` or `_driver` are passed by.
A topology's `plugins:` name further modules or files.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from clusterkit.components.base import Component
from clusterkit.errors import UsageError

_OWN = ("base", "registry", "conditions", "probes", "streams")


@cache
def _shipped() -> Mapping[str, str]:
    """kind -> module name, without importing any."""
    names = [module.name for module in pkgutil.iter_modules(importlib.import_module("clusterkit.components").__path__)]
    return {
        name.replace("_", "-"): f"clusterkit.components.{name}"
        for name in names
        if name not in _OWN and not name.endswith(("_client", "_checks", "_driver"))
    }


class Registry:
    """kind -> Component. Modules are imported when asked for, so that a small topology loads quickly.

    `components` are made ones (a test's, say); they come before all others of their kind.
    """

    def __init__(self, plugins: Iterable[str] = (), components: Iterable[Component] = ()) -> None:
        self._made: dict[str, Component] = {component.kind: component for component in components}
        for plugin in plugins:
            self.add(plugin)

    def add(self, plugin: str) -> None:
        """Adds the component of a module (dotted name) or of a Python file (path). Raises: UsageError."""
        component = _load_plugin(plugin)
        self._made[component.kind] = component

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted({*_shipped(), *_entry_points(), *self._made}))

    def __contains__(self, kind: object) -> bool:
        return kind in self._made or kind in _shipped() or kind in _entry_points()

    def __getitem__(self, kind: str) -> Component:
        """Raises: KeyError for an unknown kind, UsageError where a package's component cannot be loaded."""
        if kind not in self._made:
            if kind in _shipped():
                self._made[kind] = importlib.import_module(_shipped()[kind]).COMPONENT
            else:
                self._made[kind] = _of_module(_entry_points()[kind].partition(":")[0])
        return self._made[kind]


@cache
def _entry_points() -> Mapping[str, str]:
    """kind -> module of outside packages. Reading them takes a while, so only an unknown kind makes us look."""
    import importlib.metadata

    return {point.name: point.value for point in importlib.metadata.entry_points(group="clusterkit.components")}


def _load_plugin(plugin: str) -> Component:
    """`plugin` is a module's dotted name, or the path of a Python file."""
    if "/" not in plugin and not plugin.endswith(".py"):
        return _of_module(plugin)
    path = Path(plugin)
    spec = importlib.util.spec_from_file_location(f"clusterkit_plugin_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f'plugin "{plugin}" is not a Python file', mend="give the path of a file that has a COMPONENT")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f'plugin "{plugin}" could not be loaded: {type(error).__name__}: {error}', mend="mend the plugin"
        ) from error
    return _component_in(module, plugin)


def _of_module(name: str) -> Component:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise UsageError(
            f'plugin "{name}" could not be loaded: {type(error).__name__}: {error}',
            mend="install its package beside clusterkit, or mend it; a file is named by a path that ends in .py",
        ) from error
    return _component_in(module, name)


def _component_in(module: ModuleType, plugin: str) -> Component:
    component = getattr(module, "COMPONENT", None)
    if not isinstance(component, Component):
        raise UsageError(f'plugin "{plugin}" has no COMPONENT', mend="see docs/adding-a-component.md")
    return component
