"""L8. Keeps the whole log of a node beyond its life: written before the node is removed or made anew.

One file per container, `logs/BORN/NODE.ID.jsonl.gz` in the cluster's folder, where BORN names the life of the cluster.
The first line says whose log it is, so that it can be read back without topology or engine; each further line is
`{"t": time in ns, "s": "o" or "e", "m": text}` (stdout, stderr), in the order written. `zcat` reads them too.

A file is written under another name, synced and renamed: it is whole or it is not there. Archiving a node again writes
the same file again, with what has come since.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from json.encoder import encode_basestring as quote
from pathlib import Path

from clusterkit import paths
from clusterkit.clock import SYSTEM
from clusterkit.errors import EnvironmentTrouble, NodeUnreachable
from clusterkit.journal import Journal
from clusterkit.node import State
from clusterkit.providers.base import LogLine, NodeRecord, Provider

_SUFFIX = ".jsonl.gz"
_UNKNOWN_LIFE = "unknown"
"""For nodes whose network is gone, and with it the time of birth of their cluster."""
_FORMAT = 1
_LINES_AT_ONCE = 2000
_WORKERS = 16


@dataclass(frozen=True)
class Archived:
    """Whose log a file holds. `archived_ns` is when it was written, since 1970."""

    path: Path
    node: str
    component: str
    kind: str
    zone: str
    index: int
    cluster: str
    born: str
    runtime_id: str
    archived_ns: int

    @property
    def record(self) -> NodeRecord:
        """The node as it was, as far as its log tells."""
        return NodeRecord(
            self.node,
            self.cluster,
            self.component,
            self.kind,
            self.zone,
            self.index,
            "",
            {},
            {},
            self.runtime_id,
            State.EXITED,
            born=self.born,
        )


def archive(provider: Provider, records: Sequence[NodeRecord], folder: Path, journal: Journal) -> int:
    """Writes the whole logs of these nodes below the cluster's folder; gives back the number of lines.

    Where the folder cannot be written, they go to the user's cache, and the journal says so. A node that is gone
    already has no log left and counts no lines. Raises: EnvironmentTrouble when a log can be written nowhere.
    """
    if not records:
        return 0
    if len(records) == 1:
        return _archive_one(provider, records[0], folder, journal)
    with ThreadPoolExecutor(_WORKERS) as pool:
        return sum(pool.map(lambda record: _archive_one(provider, record, folder, journal), records))


def fallback(cluster: str) -> Path:
    """The folder that stands in where the one beside the topology cannot be written."""
    return paths.cache() / "logs" / cluster


def trim(folder: Path, most_bytes: int) -> tuple[int, int]:
    """Removes the oldest archived logs below the cluster's folder until the rest takes no more; how many, and bytes.

    The youngest file stays, however large. What cannot be removed is left.
    """
    found = []
    for path in (folder / "logs").glob(f"*/*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            seen = path.stat()
            found.append((seen.st_mtime_ns, seen.st_size, path))
    found.sort()
    total, files, removed = sum(size for _, size, _ in found), 0, 0
    for _, size, path in found[:-1]:
        if total <= most_bytes:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            total, files, removed = total - size, files + 1, removed + size
        with contextlib.suppress(OSError):  # there are others in it
            path.parent.rmdir()
    return files, removed


def _archive_one(provider: Provider, record: NodeRecord, folder: Path, journal: Journal) -> int:
    try:
        return _write(provider, record, folder)
    except OSError as error:
        instead = fallback(record.cluster)
        journal.say(
            f"the log of {record.name} cannot be kept in {folder} ({error.strerror}): it goes to {instead}",
            level="warning",
            node=record.name,
        )
    try:
        return _write(provider, record, instead)
    except OSError as error:
        raise EnvironmentTrouble(
            f"the log of {record.name} can be kept neither in {folder} nor in {instead}: {error.strerror}",
            mend="make room, or make one of them writable; the node is still there",
        ) from error


def _write(provider: Provider, record: NodeRecord, folder: Path) -> int:
    life = folder / "logs" / (record.born or _UNKNOWN_LIFE)
    life.mkdir(parents=True, exist_ok=True)
    path = life / f"{record.name}.{record.runtime_id[:12]}{_SUFFIX}"
    begun = path.with_name(f".{path.name}.begun")
    lines = 0
    try:
        read = provider.logs(record)
    except NodeUnreachable:
        return 0
    try:
        with begun.open("wb") as raw:
            with gzip.open(raw, "wb", compresslevel=1) as file:
                file.write(_header(record, path).encode() + b"\n")
                for some in _some(read):
                    lines += len(some)
                    file.write("".join(some).encode(errors="replace"))
            raw.flush()
            os.fsync(raw.fileno())
        begun.replace(path)
    except BaseException:
        begun.unlink(missing_ok=True)
        raise
    _sync_folder(life)
    return lines


def _some(lines: Iterator[LogLine]) -> Iterator[list[str]]:
    """Lines as they stand in the file, many at once."""
    some: list[str] = []
    for line in lines:
        some.append(f'{{"t":{line.time_ns},"s":"{line.stream[3]}","m":{quote(line.text)}}}\n')
        if len(some) == _LINES_AT_ONCE:
            yield some
            some = []
    yield some


def _header(record: NodeRecord, path: Path) -> str:
    head = asdict(
        Archived(
            path,
            record.name,
            record.component,
            record.kind,
            record.zone,
            record.index,
            record.cluster,
            record.born,
            record.runtime_id,
            SYSTEM.wall_ns(),
        )
    )
    del head["path"]
    return json.dumps({"clusterkit_log": _FORMAT, **head})


def _sync_folder(folder: Path) -> None:
    """A rename lasts only when its folder is synced. Source: fsync(2)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find_archives(
    folders: Iterable[Path], cluster: str, born: str | None = None, *, known: Iterable[str] = ()
) -> tuple[Archived, ...]:
    """The archived logs of a cluster, or of one life of it, the oldest first; those in several folders once.

    `folders` are those of the cluster (paths.state); the stand-in in the user's cache is looked into as well.
    `known` are runtime ids that are left out, without a look at their files.
    """
    left_out = {runtime_id[:12] for runtime_id in known}
    found: dict[str, Archived] = {}
    life = "*" if born is None else born or _UNKNOWN_LIFE
    for folder in dict.fromkeys((*folders, fallback(cluster))):
        for path in folder.glob(f"logs/{life}/*{_SUFFIX}"):
            if path.name.startswith(".") or path.name.removesuffix(_SUFFIX).rpartition(".")[2] in left_out:
                continue
            with gzip.open(path, "rt", encoding="utf-8") as file:
                head = json.loads(file.readline())
            del head["clusterkit_log"]
            here = Archived(path=path, **head)
            other = found.get(here.runtime_id)
            if here.cluster == cluster and (other is None or other.archived_ns < here.archived_ns):
                found[here.runtime_id] = here
    return tuple(sorted(found.values(), key=lambda each: (_born_ns(each), each.archived_ns)))


def last_life(archives: Iterable[Archived]) -> str | None:
    """The `born` of the youngest life there are archives of."""
    newest = max(archives, key=lambda each: (_born_ns(each), each.archived_ns), default=None)
    return newest.born if newest else None


def _born_ns(archived: Archived) -> int:
    return int(archived.born) if archived.born.isdigit() else 0


def read_archive(archived: Archived, since_ns: int = 0) -> Iterator[LogLine]:
    """The lines of one archived log, in the order written, without those before `since_ns`."""
    with gzip.open(archived.path, "rt", encoding="utf-8", newline="\n") as file:
        file.readline()
        for line in file:
            read = json.loads(line)
            if read["t"] >= since_ns:
                yield LogLine(read["t"], "stdout" if read["s"] == "o" else "stderr", read["m"])
