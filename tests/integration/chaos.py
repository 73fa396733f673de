"""What tests of faults share: a running cluster's scene, the host as it is, the trial that every fault passes."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from random import Random

from clusterkit.agent.client import Agent, Mark
from clusterkit.chaos.base import Fault, Scene, Target
from clusterkit.chaos.scene import open_scene
from clusterkit.chaos.strike import Struck, heal, strike
from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned
from clusterkit.journal import Journal
from clusterkit.providers.docker import DockerProvider
from clusterkit.scaling import scale
from tests.integration.conftest import Folder


def at(*words: str) -> Target:
    return Target(words)


@contextmanager
def scene_of(folder: Folder, seed: int = 0) -> Iterator[Scene]:
    """The scene of the cluster that `folder` has brought up."""
    provider, journal = DockerProvider(), Journal()
    topology, registry = read_topology(None, folder=folder.path, environ=os.environ)
    record = provider.find(folder.name)
    assert record is not None
    site = Site(provider, journal, folder.path / ".clusterkit" / folder.name)
    grow = partial(scale, site, folder.name, folder.path / "clusterkit.yml")
    with open_scene(provider, journal, record, lambda: planned(site, topology, registry, record), grow) as scene:
        yield replace(scene, random=Random(seed))


def host_state(*, with_ours: bool = True) -> dict[str, str]:
    """What of the host no fault may change: rules, qdiscs, interfaces, routes. `with_ours`: our own rules too.

    Left out are counters, empty tables, which iptables leaves behind, and what other clusters bring while tests run
    side by side: their bridges, virtual links and addresses.
    """
    rules = [line for line in _on_host("nft", "list", "ruleset") if not re.search(r"\bck[0-9a-f]{10}|\b10\.", line)]
    text = re.sub(r"counter packets \d+ bytes \d+", "counter", "\n".join(rules))
    if not with_ours:
        text = re.sub(r"^table bridge clusterkit_\S+ \{\n.*?^\}\n?", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^\s*chain CLUSTERKIT\S* \{\n.*?^\s*\}\n?", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^.*jump CLUSTERKIT.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\s*chain \w+ \{[^{}]*policy accept;\s*\}", "", text)
    text = re.sub(r"^table \S+ \S+ \{\s*\}\n?", "", text, flags=re.MULTILINE)
    text = "\n".join(line for line in text.splitlines() if line.strip())
    qdiscs = [line for line in _on_host("tc", "qdisc", "show") if " noqueue " not in line]
    links = [line for line in _on_host("ip", "-o", "link", "show") if not re.match(r"\d+: (veth|ck)", line)]
    routes = [line for line in _on_host("ip", "-4", "route", "show", "table", "all") if " dev ck" not in line]
    return {
        "rules": text,
        "qdiscs": "\n".join(qdiscs),
        "links": "\n".join(re.sub(r"<[^>]*>|state \w+", "", link) for link in links),
        "routes": "\n".join(routes).replace(" linkdown", ""),
    }


def passes_its_trial(scene: Scene, fault: Fault, *, lease_s: float = 60) -> Struck:
    """What every fault has to show: it does not bite when it is not made; made, it bites and leaves others alone;
    healed, it does not bite any more, and the host is as it was. One that does not last has nothing to be healed.
    """
    before = host_state()
    unmade = strike(fault, scene, lease_s, pretend=True)
    assert not unmade.effect.bites, f"{unmade.mark.words} was not made, and bites: {unmade.effect}"
    struck = strike(fault, scene, lease_s)
    assert struck.effect.bites, f"{struck.mark.words}: {struck.effect}"
    assert struck.effect.beside_is_well, f"{struck.mark.words}: {struck.effect}"
    if fault.is_lasting:
        assert struck.mark.id in marks_of(scene)
        heal(scene)
        after = eventually_whole(fault, scene.look(), struck.mark)
        assert not after.effect.bites, f"{struck.mark.words}, healed: {after.effect}"
    assert marks_of(scene) == {}
    assert host_state() == before
    return struck


def eventually_whole(fault: Fault, scene: Scene, mark: Mark, seconds: float = 10) -> Struck:
    """What is measured once it is healed; a node may need a moment to come back."""
    end = time.monotonic() + seconds
    while True:
        effect = fault.measure(scene, mark)
        if not effect.bites or time.monotonic() > end:
            return Struck(fault, mark, effect)
        time.sleep(0.3)


def marks_of(scene: Scene) -> dict[str, Mark]:
    agent: Agent = scene.agent
    return {mark.id: mark for mark in agent.marks(scene.cluster)}


def _on_host(*argv: str) -> list[str]:
    """By the agent's tools, which see the host's network; this machine need not have them."""
    command = ["docker", "exec", "clusterkit-agent", *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
