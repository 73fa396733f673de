"""L5. Disks of nodes."""

from __future__ import annotations

from .. import loop

CALLS = {"disks_make": loop.disks_make, "disks_remove": loop.disks_remove, "disks": loop.disks}
