"""L5. Files of nodes that are damaged: cut off, or with a bit that is another; put back unless written to since."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..entry import Entry
from ..kind import Refused
from .disk import OnDisks, asked, do_all, needs_motion

_SECONDS = 5.0


class _Damage(OnDisks):
    """`args`: also `pattern`, the files that may be meant ("": any), `bytes`; `chances`, node name -> `share`, `bit`.

    `before`: also `files`, node name -> what on_disk.choose gives; `key`, by which what is cut off is found again.
    """

    def look(self, entry: Entry) -> dict[str, Any]:
        before = super().look(entry)
        given = {
            name: {"pattern": entry.args["pattern"], "bytes_wanted": entry.args["bytes"], **chance}
            for name, chance in entry.args["chances"].items()
        }
        files = asked(entry.cluster, entry.args["nodes"], "choose", _SECONDS, given)
        for name, found in files.items():
            if found["error"] == "ENOENT":
                what = f'file "{entry.args["pattern"]}"' if entry.args["pattern"] else "file with content"
                raise Refused(f"{name} has no {what} among its data", f"clusterkit exec {name} -- find")
            if found["error"]:
                raise Refused(f"the files of {name} cannot be read: {found['error']}", "try again")
            self._refuse_twice(entry, name, found["file"])
        return {**before, "files": files, "key": secrets.token_hex(8)}

    def _refuse_twice(self, entry: Entry, node: str, file: str) -> None:
        """What one of them left could not be told from what was written since."""
        for kind in (Truncate.name, BitFlip.name):
            for other in self.box.entries(kind, entry.cluster):
                if other.before["files"].get(node, {}).get("file") == file:
                    raise Refused(f"{file} of {node} is damaged already", f"clusterkit chaos heal {other.id}")

    def undo(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            needs_motion(self.box, entry, node)
        for node in entry.args["nodes"]:
            do_all(entry.cluster, [node], *_back(entry.kind, node["name"], entry.before, is_trial=False))


class Truncate(_Damage):
    """The end of a file is missing. What is cut off is kept on the disk itself."""

    name = "truncate"

    def make(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            found = entry.before["files"][node["name"]]
            do_all(
                entry.cluster, [node], "cut", {"file": found["file"], "at": found["at"], "name": entry.before["key"]}
            )


class BitFlip(_Damage):
    """A bit of a file is another. Nothing tells of it: the file system keeps no sums of data."""

    name = "bit-flip"

    def make(self, entry: Entry) -> None:
        for node in entry.args["nodes"]:
            found = entry.before["files"][node["name"]]
            order = {"file": found["file"], "offset": found["offset"], "was": found["byte"], "byte": found["bit"]}
            do_all(entry.cluster, [node], "poke", {**order, "is_trial": False})


def _back(kind: str, name: str, before: Mapping[str, Any], *, is_trial: bool) -> tuple[str, dict[str, Any]]:
    """How the damage to a node's file is undone, or how it is seen whether it can be."""
    found = before["files"][name]
    if kind == Truncate.name:
        return "paste", {"name": before["key"], "is_trial": is_trial}
    order = {"file": found["file"], "offset": found["offset"], "was": found["bit"], "byte": found["byte"]}
    return "poke", {**order, "is_trial": is_trial}


def damage(args: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is to be seen of a damage: node name -> `is_damaged`, whether the place reads otherwise than before;
    `can_be_undone`, whether nobody has written there since; `error`, where it cannot be read.

    `cluster`, `kind`, `nodes`, `before`.
    """
    seen: dict[str, dict[str, Any]] = {}
    for node in args["nodes"]:
        name = node["name"]
        before = args["before"]["files"][name]
        begin, end = (before["at"], before["size"])
        if args["kind"] == BitFlip.name:
            begin, end = before["offset"], before["offset"] + 1
        do, order = _back(args["kind"], name, args["before"], is_trial=True)
        back = asked(args["cluster"], [node], do, _SECONDS, {name: order})
        read = asked(
            args["cluster"], [node], "part", _SECONDS, {name: {"file": before["file"], "at": begin, "size": end}}
        )
        if name in read:
            was = before["sum"] if args["kind"] == Truncate.name else before["byte_sum"]
            seen[name] = {
                "is_damaged": read[name]["error"] in ("", "ENOENT") and read[name].get("sum") != was,
                "can_be_undone": bool(back[name].get("is_back")),
                "error": read[name]["error"],
            }
    return seen


KINDS = (Truncate, BitFlip)
CALLS = {"damage": damage}
