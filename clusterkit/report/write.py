"""L13. Makes the files that are for reading, from those that say what happened."""

from __future__ import annotations

from pathlib import Path

from clusterkit.report import junit, text
from clusterkit.report.run import Run, read_run

TEXT, XML, PAGE = "summary.txt", "junit.xml", "report.html"


def write(folder: Path) -> Run:
    """Makes summary.txt, junit.xml and report.html of a run, anew if need be. Raises: UsageError where it is no run."""
    from clusterkit.report import page

    run = read_run(folder)
    # Half a surrogate pair, which a log may hold as an escape in JSON, is no text in UTF-8: it becomes "?".
    (folder / TEXT).write_text("\n".join([*text.lines(run), ""]), encoding="utf-8", errors="replace")
    (folder / XML).write_bytes(junit.document(run))
    (folder / PAGE).write_text(page.document(run), encoding="utf-8", errors="replace")
    return run


def summary(folder: Path) -> str:
    """What a terminal is told of a run. Raises: UsageError where it is no run."""
    return "\n".join(text.lines(read_run(folder)))
