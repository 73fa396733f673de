"""L14. Which files changed: what lies below the watched paths, looked at again whenever the kernel says that something
happened there.

The kernel's events only wake us. What they say is not enough: an editor that writes a new file and renames it, or a
`git checkout`, makes events in which the end is hard to see. Two looks, compared, say it.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.errors import EnvironmentTrouble

if TYPE_CHECKING:
    from clusterkit.components.service import WatchOptions

Stamp = tuple[int, int, int]
"""When a file was written (ns since 1970), its size in bytes, its mode."""

ALWAYS_IGNORED = (".git/", ".clusterkit/", "__pycache__/", "*.pyc", "*~", ".*.sw?", ".#*", "4913")
"""What versions, interpreters and editors write beside the files that are meant (4913 is a trial of vim's)."""

_DEBOUNCE_MS = 100
"""An editor that saves all files, or a `git checkout`, is one change."""
_STEP_MS = 50
_TIMEOUT_MS = 1000


@dataclass(frozen=True)
class Rule:
    """One item of a component's `watch:`; `number` is its place there. `context`: the folder that is built, if any."""

    component: str
    number: int
    options: WatchOptions
    context: Path | None = None

    def target(self, name: str) -> str:
        """Where in a node a file below the path is copied to."""
        return f"{self.options.target.rstrip('/')}/{name}" if name else self.options.target


Changes = dict[Rule, set[str]]
"""Rule -> the names of files below its path that changed, came or went; "" where the path is a file itself."""


def look(rule: Rule) -> dict[str, Stamp]:
    """Name below the path -> its stamp, of all files that are not ignored; {"": stamp} where the path is a file."""
    root, is_ignored = rule.options.path, _ignored(rule)
    found = {"": _stamp(root)} if root.is_file() else {}
    for folder, folders, names in os.walk(root):
        below = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not is_ignored(f"{below / name}/")]
        files = [str(below / name) for name in names]
        found |= {name: _stamp(root / name) for name in files if not is_ignored(name)}
    return {name: stamp for name, stamp in found.items() if stamp is not None}


def differing(before: Mapping[str, Stamp], after: Mapping[str, Stamp]) -> set[str]:
    """The files that changed, came or went."""
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


class Watcher:
    """Gathers changes from now on, until it is closed. `changed` is set while there are some that nobody took."""

    def __init__(self, rules: Collection[Rule]) -> None:
        self.changed = threading.Event()
        self._rules = tuple(rules)
        self._seen = {rule: look(rule) for rule in rules}
        self._gathered: Changes = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._trouble: EnvironmentTrouble | None = None
        self._threads = [
            threading.Thread(target=self._listen, args=(roots, recursive), daemon=True)
            for roots, recursive in ((self._folders, True), (self._parents, False))
        ]
        for thread in self._threads:
            thread.start()

    def take(self) -> Changes:
        """Waits for changes, and gives all that were gathered. Raises: EnvironmentTrouble."""
        self.changed.wait()
        if self._trouble is not None:
            raise self._trouble
        with self._lock:
            self.changed.clear()
            taken, self._gathered = self._gathered, {}
        return taken

    def close(self) -> None:
        self._stop.set()

    def look_again(self) -> None:
        """Compares what there is with what there was."""
        with self._lock:
            for rule, before in self._seen.items():
                now = look(rule)
                names = differing(before, now)
                if names:
                    self._seen[rule] = now
                    self._gathered.setdefault(rule, set()).update(names)
            if self._gathered:
                self.changed.set()

    def _folders(self) -> set[Path]:
        return {rule.options.path for rule in self._rules if rule.options.path.is_dir()}

    def _parents(self) -> set[Path]:
        """Where a file is replaced by a new one, and a folder goes and comes back, its parent tells."""
        return {rule.options.path.parent for rule in self._rules if rule.options.path.parent.is_dir()}

    def _listen(self, roots: Callable[[], set[Path]], recursive: bool) -> None:
        """Listens to the folders that there are; anew when they are others: a folder that came back is another one."""
        from watchfiles import watch
        from watchfiles._rust_notify import WatchfilesRustInternalError

        while not self._stop.is_set():
            heard = {root: _identity(root) for root in roots()}
            if not heard:
                self._stop.wait(1)
                continue
            is_first = True
            events = watch(
                *heard,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=self._stop,
                rust_timeout=_TIMEOUT_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
                recursive=recursive,
            )
            try:
                for happened in events:
                    is_other = heard != {root: _identity(root) for root in roots()}
                    if happened or is_first or is_other:  # the first time: for what changed before we listened
                        self.look_again()
                    is_first = False
                    if is_other:
                        break
            except FileNotFoundError:
                continue  # it went just now: the next round listens to what is there
            except (OSError, WatchfilesRustInternalError) as error:
                self._trouble = EnvironmentTrouble(
                    f"this machine cannot tell when files change: {error}",
                    mend="watch fewer files, or raise fs.inotify.max_user_watches and max_user_instances with sysctl",
                )
                self.changed.set()
                return


def _identity(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _stamp(path: Path) -> Stamp | None:
    """None of what is no regular file, or has just gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_mode) if stat.S_ISREG(found.st_mode) else None


def _ignored(rule: Rule) -> Callable[[str], bool]:
    """Says of a name below the path ("src/app.py"; "src/" is a folder) whether it does not matter.

    What `.dockerignore` leaves out of the image is not copied into a node either: the next one would not have it.
    """
    patterns = (*ALWAYS_IGNORED, *rule.options.ignore)
    left_out = _left_out(rule)

    def is_ignored(name: str) -> bool:
        return any(_matches(name, pattern) for pattern in patterns) or left_out(name)

    return is_ignored


def _matches(name: str, pattern: str) -> bool:
    """A pattern with a / at its end is for folders; one with another / for the whole way, else for the last part."""
    if pattern.endswith("/") != name.endswith("/") and not (name.endswith("/") and "/" not in pattern):
        return False
    name, pattern = name.rstrip("/"), pattern.rstrip("/").removeprefix("./")
    return fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)


def _left_out(rule: Rule) -> Callable[[str], bool]:
    ignore = rule.context / ".dockerignore" if rule.context else None
    if ignore is None or not ignore.is_file() or not rule.options.path.is_relative_to(ignore.parent):
        return lambda _name: False
    from docker.utils.build import PatternMatcher

    lines = [line.strip() for line in ignore.read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    matcher = PatternMatcher(patterns)
    has_exceptions = any(line.startswith("!") for line in patterns)
    above = rule.options.path.relative_to(ignore.parent)

    def is_left_out(name: str) -> bool:
        if name.endswith("/") and has_exceptions:
            return False  # something in it may be wanted
        return bool(matcher.matches(str(above / name)))  # type: ignore[arg-type]  # it takes text, whatever its stubs say

    return is_left_out


def rules_of(component: str, watched: Collection[WatchOptions], context: Path | None) -> Iterator[Rule]:
    """The rules of one component."""
    for number, options in enumerate(watched):
        yield Rule(component, number, options, context)
