"""L15. Rows as a table: aligned, wrapped to the terminal, whole lines where the output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from clusterkit.cli.console import is_terminal

_COLOURS = {
    "running": "green",
    "healthy": "green",
    "ok": "green",
    "exited": "red",
    "unhealthy": "red",
    "down": "red",
    "paused": "yellow",
    "created": "yellow",
    "valid": "green",
    "invalid": "red",
    "unknown": "yellow",
    "leader": "bold",
    "primary": "bold",
}


def show(rows: Sequence[Mapping[str, object]]) -> None:
    """Columns are the keys of the first row. Colours only on a terminal, and not with NO_COLOR."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if is_terminal(sys.stdout) else 500)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for key in rows[0]:
        table.add_column(str(key).upper(), overflow="fold")
    for row in rows:
        table.add_row(*(_coloured(str(value)) for value in row.values()))
    console.print(table, soft_wrap=False)


def _coloured(value: str) -> str:
    from rich.markup import escape

    colour = _COLOURS.get(value)
    return f"[{colour}]{value}[/]" if colour else escape(value)
