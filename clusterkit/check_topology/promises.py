"""L13. Reads a scenario's `workload:` and `expect:`: what clients do, and what the verdict asks for.

What is left out is taken from what the component claims. Nothing acknowledged may be lost, and all nodes have to agree
in the end, unless the scenario accepts otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from clusterkit.check_topology.findings import Findings
from clusterkit.check_topology.options import read_options
from clusterkit.components.base import Component, WorkloadOptions
from clusterkit.model.topology import ComponentSpec, Key
from clusterkit.model.words import did_you_mean, listed, shown
from clusterkit.units import Duration, Rate
from clusterkit.workloads.base import DEFAULT_RATE, DEFAULT_TIMEOUT, Expect, Workload, WorkloadSpec
from clusterkit.workloads.kinds import KINDS

T = TypeVar("T")

WORKLOAD: Mapping[str, str] = {
    "kind": "What clients do: register, set, counter, queue, bank or ids.",
    "component": "Whom they talk to.",
    "clients": "How many there are, each with one call under way: 5 if not given.",
    "rate": "Calls per second of all clients together: 100/s if not given.",
    "keys": "How many objects of the kind there are (of a bank: accounts).",
    "mix": "The share of each call, for example {read: 5, write: 1}.",
    "timeout": "How long a client waits for an answer: 1s if not given.",
    "pinned": "How many clients keep to the node that they found first, or the word all; 2 of 5 if not given.",
}
EXPECT: Mapping[str, str] = {
    "linearizable": "Whether order and freshness are judged; what the component claims, if not given.",
    "lost": "How many acknowledged writes may be lost: 0, or the word any.",
    "converges": "Whether all nodes have to agree after the end.",
    "unavailable": "How long no call may be ok: {at_most: 6s}.",
    "leader_changes": "How often another node has to become the leader: {at_least: 1}.",
}
_EXAMPLE = "{kind: register, component: registry, clients: 5, rate: 100/s}"
_PINNED_OF_ALL = 0.4
_MOST_CLIENTS = 1000
_MOST_KEYS = 100_000

Known = Mapping[str, tuple[ComponentSpec, Component]]
"""Name of a component -> as asked for, and its kind."""


def read_workload(findings: Findings, key: Key, given: Any, known: Known, folder: Path) -> WorkloadSpec | None:
    """None after its problems were added."""
    before = len(findings.problems)
    body = findings.mapping(key, given, f"workload: {_EXAMPLE}")
    if body is None:
        return None
    component = _component(findings, key, body, known)
    kind = _kind(findings, key, body, component)
    options = None
    if component is not None:
        own = {word: value for word, value in body.items() if word not in WORKLOAD}
        options = read_options(findings, component[1].workload, key, own, folder, WORKLOAD)
    spoken = options.spoken if isinstance(options, WorkloadOptions) else None
    clients = _whole(findings, key, body, "clients", 5, _MOST_CLIENTS)
    keys = _whole(findings, key, body, "keys", kind.keys if kind else 1, _MOST_KEYS)
    if kind is not None and kind.kind == "bank" and body.get("keys") is not None and keys == 1:
        findings.add((*key, "keys"), "a bank with one account has nothing to transfer", "write keys: 5")
    spec = WorkloadSpec(
        kind=kind.kind if kind else "",
        component=component[0].name if component else "",
        clients=clients,
        rate=_quantity(findings, key, body, "rate", Rate.parse, DEFAULT_RATE),
        keys=keys,
        mix=_mix(findings, key, body, kind, spoken),
        timeout=_quantity(findings, key, body, "timeout", Duration.parse, DEFAULT_TIMEOUT),
        pinned=_pinned(findings, key, body, clients),
        options=options,
        variables=findings.used,
    )
    if spec.rate.per_second <= 0:
        findings.add((*key, "rate"), "with this rate nothing would ever be called", "write rate: 100/s")
    if spec.timeout.milliseconds < 1:
        findings.add((*key, "timeout"), "no call ever ends in this time", "write timeout: 1s")
    return spec if len(findings.problems) == before else None


def read_expect(findings: Findings, key: Key, given: Any, spec: WorkloadSpec | None, known: Known) -> Expect | None:
    """What is asked for; None after its problems were added. Without a workload only the words are checked."""
    before = len(findings.problems)
    claims = known[spec.component][1].claims if spec is not None else None
    expect = Expect(
        linearizable=bool(claims and claims.linearizable),
        converges=spec is not None and known[spec.component][0].replicas > 1,
    )
    body = findings.mapping(key, given, "expect: {unavailable: {at_most: 6s}}") if given is not None else {}
    for word, value in (body or {}).items():
        if word not in EXPECT:
            findings.unknown_key((*key, word), EXPECT, "expect")
        elif value is not None:
            expect = _expected(findings, (*key, word), word, value, expect)
    if expect.may_lose and (body or {}).get("linearizable") is None:
        expect = replace(expect, linearizable=False)
    if spec is not None and KINDS[spec.kind].needs_order and not expect.linearizable:
        findings.add(
            key,
            f"a {spec.kind} can only be judged as linearizable, which {spec.component} does not claim to be",
            "use kind: set (nothing acknowledged is lost), or say expect: {linearizable: true}",
        )
    if expect.linearizable and expect.may_lose:
        findings.add(key, "what may lose writes is not linearizable", "write linearizable: false beside lost: any")
    return expect if len(findings.problems) == before else None


def _component(
    findings: Findings, key: Key, body: Mapping[str, Any], known: Known
) -> tuple[ComponentSpec, Component] | None:
    able = [name for name, (_, component) in known.items() if component.drivers]
    name = body.get("component")
    if name is None:
        if len(able) == 1:
            return known[able[0]]
        mend = f"add component: {able[0]}" if able else "add a component that clients can talk to"
        findings.add(key, f"this workload does not say whom it talks to; there is {listed(able) or 'nobody'}", mend)
        return None
    if name not in known:
        mend = did_you_mean(str(name), able or tuple(known), "components")
        findings.add((*key, "component"), f"no component is called {shown(name)}", mend)
        return None
    if name not in able:
        findings.add(
            (*key, "component"),
            f'clusterkit has no workload for "{name}", which is of kind {known[name][0].kind}',
            f"name one of {listed(able)}" if able else "talk to a component of kind etcd, redis or service",
        )
        return None
    return known[name]


def _kind(
    findings: Findings, key: Key, body: Mapping[str, Any], component: tuple[ComponentSpec, Component] | None
) -> type[Workload] | None:
    word = body.get("kind")
    if word is None:
        findings.add(key, "this workload has no kind", f"write one of {listed(tuple(KINDS), 'or')}: {_EXAMPLE}")
        return None
    if word not in KINDS:
        findings.add((*key, "kind"), f"unknown kind {shown(word)} of workload", did_you_mean(str(word), KINDS, "kinds"))
        return None
    if component is not None and word not in component[1].drivers:
        findings.add(
            (*key, "kind"),
            f'"{component[0].name}" has no workload of kind {word}',
            f"use one of {listed(tuple(component[1].drivers))}",
        )
        return None
    return KINDS[word]


def _mix(
    findings: Findings, key: Key, body: Mapping[str, Any], kind: type[Workload] | None, spoken: frozenset[str] | None
) -> Mapping[str, int]:
    """`spoken`: the calls that the workload describes. Of a mix that nobody wrote, the others are left out."""
    if kind is None:
        return {}
    written = {} if body.get("mix") is None else _written_mix(findings, key, body, kind)
    if spoken is None:
        return written or dict(kind.mix)
    for f in sorted((kind.needed | frozenset(written)) - spoken):
        findings.add(key, f'a {kind.kind} needs the call "{f}", which is not described', f"add {f} to the calls")
    return written or {f: share for f, share in kind.mix.items() if f in spoken}


def _written_mix(findings: Findings, key: Key, body: Mapping[str, Any], kind: type[Workload]) -> Mapping[str, int]:
    calls = kind.calls or frozenset(kind.mix)
    given = findings.mapping((*key, "mix"), body["mix"], f"mix: {{{', '.join(f'{f}: 1' for f in sorted(calls))}}}")
    shares: dict[str, int] = {}
    for word, value in (given or {}).items():
        if word not in calls:
            findings.unknown_key((*key, "mix", word), sorted(calls), "mix")
        else:
            share = findings.whole((*key, "mix", word), value, 0, 1000, 1)
            shares[word] = share or 0
    if given is not None and not any(shares.values()):
        findings.add((*key, "mix"), "this mix calls nothing", f"write {{{', '.join(sorted(calls))}}} with their shares")
    return shares


def _pinned(findings: Findings, key: Key, body: Mapping[str, Any], clients: int) -> int:
    given = body.get("pinned")
    if given is None:
        return int(clients * _PINNED_OF_ALL)
    if given == "all":
        return clients
    return findings.whole((*key, "pinned"), given, 0, clients, min(2, clients)) or 0


def _whole(findings: Findings, key: Key, body: Mapping[str, Any], word: str, default: int, most: int) -> int:
    if body.get(word) is None:
        return default
    return findings.whole((*key, word), body[word], 1, most, default) or default


def _quantity(
    findings: Findings, key: Key, body: Mapping[str, Any], word: str, parse: Callable[[Any], T], default: T
) -> T:
    if body.get(word) is None:
        return default
    found = findings.quantity((*key, word), body[word], parse)
    return default if found is None else found


def _expected(findings: Findings, key: Key, word: str, value: Any, expect: Expect) -> Expect:
    if word in ("linearizable", "converges"):
        if isinstance(value, bool):
            return replace(expect, **{word: value})
        findings.wrong(key, value, "be true or false", f"write {word}: true")
    elif word == "lost":
        if value in (0, "any") and not isinstance(value, bool):
            return replace(expect, may_lose=value == "any")
        findings.wrong(key, value, "be 0 or any", "write lost: any, or leave it out: nothing may be lost")
    elif word == "unavailable":
        limit = _limit(findings, key, value, "at_most", "6s")
        seconds = None if limit is None else findings.quantity((*key, "at_most"), limit, Duration.parse)
        return expect if seconds is None else replace(expect, unavailable_s=seconds.seconds)
    else:
        limit = _limit(findings, key, value, "at_least", "1")
        times = None if limit is None else findings.whole((*key, "at_least"), limit, 1, 1000, 1)
        return expect if times is None else replace(expect, leader_changes=times)
    return expect


def _limit(findings: Findings, key: Key, value: Any, word: str, example: str) -> Any:
    body = findings.mapping(key, value, f"{key[-1]}: {{{word}: {example}}}")
    if body is None:
        return None
    for other in body:
        if other != word:
            findings.unknown_key((*key, other), (word,), str(key[-1]))
    if body.get(word) is None:
        findings.add(key, f"{key[-1]} has no {word}", f"write {key[-1]}: {{{word}: {example}}}")
    return body.get(word)
