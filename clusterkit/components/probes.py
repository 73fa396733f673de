"""L3. Programs that look at a port from inside its node, with what is there: python3, curl, wget or nc.

A program ends with 0 when the node serves. It asks the node's own address, as others do.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clusterkit.components.base import Member

_SECONDS = 3
"""How long an answer may take."""

_GET = (
    "import http.client, sys; asked = http.client.HTTPConnection(sys.argv[1], timeout={seconds}); "
    "asked.request('GET', sys.argv[2]); sys.exit(asked.getresponse().status != int(sys.argv[3]))"
)
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), {seconds})"


def tcp(member: Member, port: str) -> tuple[str, ...]:
    """The port accepts a connection."""
    at = f"{member.address} {member.ports[port]}"
    python = f"python3 -c {shlex.quote(_CONNECT.format(seconds=_SECONDS))} {at}"
    return _first_of({"python3": python, "nc": f"nc -z -w {_SECONDS} {at}"})


def http(member: Member, port: str, path: str, status: int) -> tuple[str, ...]:
    """A GET has the status. wget knows only whether the status is one of success."""
    url, asked = shlex.quote(f"http://{member.at(port)}{path}"), shlex.quote(path)
    return _first_of(
        {
            "python3": f"python3 -c {shlex.quote(_GET.format(seconds=_SECONDS))} {member.at(port)} {asked} {status}",
            "curl": f"test $(curl -sS -m {_SECONDS} -o /dev/null -w '%{{http_code}}' {url}) = {status}",
            "wget": f"wget -q -T {_SECONDS} -O /dev/null {url}",
        }
    )


def _first_of(programs: dict[str, str]) -> tuple[str, ...]:
    """The first program that is there, by a shell; the last one's failure tells that none is."""
    *tried, last = programs
    script = "".join(f"if command -v {name} >/dev/null; then {programs[name]}; el" for name in tried)
    return ("sh", "-c", f"{script}se {programs[last]}; fi")
