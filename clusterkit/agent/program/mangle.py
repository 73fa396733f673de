"""L5. The rules that send packets of impaired links to a queue: one chain of our own, in the host's mangle table."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from .kind import Refused

CHAIN = "CLUSTERKIT"
_SECONDS = 5.0

Match = tuple[str, str, str]
"""(source, destination, "6379/tcp" or "" for all traffic); addresses as text."""


def restore(matches: Iterable[Match], queue: int, present: str, hook: str = "FORWARD") -> str:
    """The text for `iptables-restore --noflush` after which the chain holds these and nothing else.

    With `--queue-bypass` packets pass where nobody serves the queue. `present` is what `iptables -t mangle -S` says.
    A chain without any rule is removed, and the jump to it.
    """
    wanted = sorted(set(matches))
    jump = f"{hook} -j {CHAIN}"
    jumps = [line for line in present.splitlines() if line == f"-A {jump}"]
    lines = ["*mangle"]
    if wanted:
        lines.append(f":{CHAIN} - [0:0]")  # made where it is not there, emptied where it is
        for source, destination, port in wanted:
            number, _, protocol = port.partition("/")
            only = f" -p {protocol} --dport {number}" if port else ""
            lines.append(f"-A {CHAIN} -s {source} -d {destination}{only} -j NFQUEUE --queue-num {queue} --queue-bypass")
        if not jumps:
            lines.append(f"-I {jump}")
    elif f"-N {CHAIN}" in present.splitlines():
        lines += [f"-D {jump}" for _ in jumps]
        lines += [f"-F {CHAIN}", f"-X {CHAIN}"]
    else:
        return ""
    return "\n".join([*lines, "COMMIT", ""])


def apply(matches: Iterable[Match], queue: int, hook: str = "FORWARD") -> None:
    """Makes it so in one transaction, in this thread's network namespace. Raises: Refused with iptables' own words."""
    text = restore(matches, queue, _run("iptables", "-w", "3", "-t", "mangle", "-S"), hook)
    if text:
        _run("iptables-restore", "-w", "3", "--noflush", text=text)


def _run(*argv: str, text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise Refused(f"{argv[0]}: {words[0] if words else f'exit {done.returncode}'}")
    return done.stdout
