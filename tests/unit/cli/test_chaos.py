"""`clusterkit chaos` without an engine: verbs made from classes, what is refused, what is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target
from clusterkit.chaos.faults.partition import Cut, Isolate, Partition
from clusterkit.chaos.needs import why_not
from clusterkit.chaos.nemesis import Summary
from clusterkit.chaos.registry import faults, shipped_faults
from clusterkit.cli import _chaos_verb, main
from clusterkit.cli._chaos_cluster import ChaosCluster
from clusterkit.cli._chaos_list import NO_CLUSTER, row
from clusterkit.cli._chaos_run import exit_code, told
from clusterkit.cli._chaos_verb import Verb, lease_of, made_from
from clusterkit.cli._chaos_words import as_json, lasting, split, until
from clusterkit.cli.chaos import OWN
from clusterkit.errors import ClusterkitError, UsageError
from clusterkit.journal import Entry, Journal
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Duration
from tests.unit.chaos.stage import SIX, FakeAgent, node, scene

MARK = Mark(
    id="cut-1", cluster="shop", fault="cut", kind="block", words="cut a-1 from b-1", nodes=("a-1", "b-1"),
    since_ns=1_700_000_000_000_000_000, left_s=None, args={}, before={},
)  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["chaos", *words])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


# -- verbs from classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_faults())
def test_every_fault_has_a_verb_with_help_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"clusterkit chaos {shipped_faults()[name].example}" in out
    assert ("--for" in out) is shipped_faults()[name].is_lasting


@pytest.mark.parametrize("name", shipped_faults())
def test_every_example_is_a_command_line_that_parses(name: str) -> None:
    import shlex

    fault = shipped_faults()[name]
    word, *rest = shlex.split(fault.example)
    assert word == name
    context = Verb(fault).make_context(name, rest)
    given = {key.removeprefix("field_"): value for key, value in context.params.items() if key.startswith("field_")}
    assert isinstance(made_from(fault, given), fault)
    lease_of(context.params.get("lasts"))


def test_no_fault_hides_behind_a_word_of_the_command() -> None:
    assert not set(OWN) & set(faults())


@pytest.mark.parametrize("word", OWN)
def test_the_table_of_words_says_what_they_say(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib

    command = importlib.import_module(f"clusterkit.cli._chaos_{word}").command
    assert (command.name, command.help.splitlines()[0]) == (word, OWN[word])
    assert run(capsys, word, "--help")[0] == 0


def test_help_has_every_fault_below_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--help")
    assert [name for name in (*OWN, *shipped_faults()) if f"  {name} " not in out] == []
    assert "Faults: partition:" in out


def test_a_target_is_read_as_it_is_typed() -> None:
    for typed in (("leader", "of", "registry"), ("leader of registry",)):
        assert made_from(Isolate, {"target": typed}) == Isolate(target=Target(("leader of registry",)))


def test_options_become_fields() -> None:
    context = Verb(Cut).make_context(
        "cut", ["api-1", "--towards", "cache", "--one-way", "--ports", "1/tcp", "--ports", "2/udp", "--flap", "2s"]
    )
    given = {key.removeprefix("field_"): value for key, value in context.params.items()}
    made = made_from(Cut, given)
    assert isinstance(made, Cut)
    assert (str(made.towards), made.one_way, [str(port) for port in made.ports]) == ("cache", True, ["1/tcp", "2/udp"])
    assert made.flap == Duration(2)


def test_what_is_not_said_is_the_default() -> None:
    assert made_from(Partition, {"shape": "ring", "target": None, "ports": ()}) == Partition(shape="ring")


# -- refused before anything is touched ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message", "mend"),
    [
        (["cut", "a-1", "--ports", "6379"], "--ports: port 6379 needs its protocol", '"6379/tcp"'),
        (["clock-drift", "101%", "--target", "a-1"], 'RATE: "101%" is more than the whole', 'at most "100%"'),
        (["isolate", "a-1", "--flap", "1ms"], "flap: 1ms is too quick", "500ms"),
        (["isolate", "a-1", "--for", "3"], '--for: "3" is not a duration', "--for ever"),
        (["isolat", "a-1"], 'no fault is called "isolat"', 'did you mean "isolate"'),
        (["heall"], 'no fault is called "heall"', 'did you mean "heal"'),
        (["partition", "third"], "'third' is not one of 'halves'", "--help"),
        (["partition", "halves", "leader", "of"], "unexpected extra arguments", "in quotes"),
        (["isolate"], "Missing argument", "--help"),
        (["clock-jump", "3s"], "Missing option '--target'", "--help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nonsense_is_refused_with_its_mend(
    words: list[str], message: str, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (64, "")
    assert message in err
    assert mend in err


def test_without_a_file_the_mend_names_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "isolate", "a-1")
    assert code == 64
    assert "--name CLUSTER" in err


def test_leases() -> None:
    assert (lease_of(None), lease_of("1m30s"), lease_of("ever")) == ("default", 90, None)


# -- what a verb does ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Break(Fault):
    """Break something."""

    name: ClassVar[str] = "break"
    family: ClassVar[Family] = "process"

    bites: bool = True
    beside_is_well: bool = True
    engine: bool = False
    healed: ClassVar[list[str]] = []
    kept: ClassVar[list[str]] = []

    def order(self, scene: Scene, _chosen: Chosen) -> Order:
        return Order(scene.cluster, self.name, "break", "break cache-1", ("cache-1",), engine=self.engine)

    def measure(self, _scene: Scene, _mark: Mark) -> Effect:
        return Effect("1 down", "1 down", self.bites, "others run", self.beside_is_well)

    def keep(self, _scene: Scene, mark: Mark) -> None:
        self.kept.append(mark.id)
        if len(self.kept) == 2:
            raise ClusterkitError("the engine is busy")
        if len(self.kept) == 3:
            raise KeyboardInterrupt

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        cls.healed.append(mark.id)
        scene.agent.heal(mark.id)


@dataclass(frozen=True)
class Keep(Break):
    keeps: ClassVar[bool] = True


@dataclass(frozen=True)
class Once(Break):
    is_lasting: ClassVar[bool] = False


@dataclass(frozen=True)
class Pick(Break):
    def order(self, scene: Scene, chosen: Chosen) -> Order:
        scene.random.random()
        return super().order(scene, chosen)


@dataclass
class Stage:
    """A verb at work on a cluster that is not there; `told` is its timeline, `lines` its stdout."""

    capsys: pytest.CaptureFixture[str]
    agent: FakeAgent = field(default_factory=FakeAgent)
    told: list[Entry] = field(default_factory=list)

    def make(self, fault: Fault, lasts: str | None = None, nodes: Sequence[NodeRecord] = SIX) -> tuple[int, list[str]]:
        Break.healed.clear()
        Break.kept.clear()
        opened = ChaosCluster("shop", None, cast(Any, None), Journal(), None, " --name shop", Journal(self.told.append))
        code = _chaos_verb._break(opened, scene(self.agent, nodes), fault, lease_of(lasts), 7)
        return code, self.capsys.readouterr().out.splitlines()

    @property
    def marks(self) -> list[str]:
        return [mark.id for mark in self.agent.marks_now]


@pytest.fixture
def stage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(_chaos_verb, "KEEP_SECONDS", 0.0)
    return Stage(capsys)


def test_a_verb_says_what_was_asked_what_was_seen_and_how_to_heal_it(stage: Stage) -> None:
    code, lines = stage.make(Break(), "1m")
    assert code == 0
    assert lines[:3] == ["break-1: break cache-1", "  asked 1 down, seen 1 down", "  beside it others run"]
    assert "(in 1m), or: clusterkit chaos heal break-1 --name shop" in lines[3]
    assert stage.agent.orders[0][1] == 60
    assert [(entry.text, entry.fields["nodes"]) for entry in stage.told] == [
        ("break-1: break cache-1", ["cache-1"]),
        ("break-1: asked 1 down, seen 1 down; beside it others run", ["cache-1"]),
    ]


def test_ten_minutes_is_the_default_and_ever_has_to_be_said(stage: Stage) -> None:
    stage.make(Break())
    _, lines = stage.make(Break(), "ever")
    assert [lease for _, lease in stage.agent.orders] == [600, None]
    assert lines[-1] == "  until: clusterkit chaos heal break-2 --name shop"


def test_what_does_not_bite_is_healed_and_fails(stage: Stage) -> None:
    code, lines = stage.make(Break(bites=False))
    assert (code, stage.marks, Break.healed) == (1, [], ["break-1"])
    assert "seen 1 down: did not bite" in lines[1]


def test_what_touches_others_fails_and_says_so(stage: Stage) -> None:
    code, lines = stage.make(Break(beside_is_well=False))
    assert (code, stage.marks) == (1, ["break-1"])
    assert lines[2] == "  beside it others run: affected, and must not be"


def test_what_needs_the_engine_stays_until_it_is_healed(stage: Stage) -> None:
    """Its lease is taken away only when it has been made and measured: a kill before that leaves no fault."""
    code, lines = stage.make(Break(engine=True))
    assert (code, stage.agent.orders[0][1], stage.agent.renewed) == (0, 600, [(("break-1",), None)])
    assert lines[-1] == "  until: clusterkit chaos heal break-1 --name shop"


def test_what_needs_the_engine_is_healed_from_here_when_its_time_is_over(stage: Stage) -> None:
    code, lines = stage.make(Break(engine=True), "1ms")
    assert (code, stage.marks, Break.healed) == (0, [], ["break-1"])
    assert lines[-1] == "healed break-1: break cache-1"
    assert stage.told[-1].text == "break-1 healed: break cache-1"


def test_what_has_to_be_kept_is_kept_and_healed_with_ctrl_c(stage: Stage) -> None:
    """Trouble in between is no end."""
    code, lines = stage.make(Keep(), "ever")
    assert (code, stage.marks, Break.healed) == (130, [], ["break-1"])
    assert len(Break.kept) == 3
    assert "until it is healed; Ctrl-C heals it at once" in lines[3]


def test_ctrl_c_at_any_moment_leaves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_chaos_verb, "_tell", interrupted)
    assert stage.make(Break(), "ever") == (130, ["healed break-1: break cache-1"])
    assert stage.marks == []
    assert stage.make(Once()) == (130, [])


def test_what_somebody_else_healed_is_kept_no_longer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeAgent, "marks", lambda _self, _cluster="": ())
    code, lines = stage.make(Keep(), "ever")
    assert (code, Break.kept, Break.healed) == (0, [], [])
    assert lines[-1] == "break-1 was healed meanwhile"


def test_what_is_over_at_once_says_nothing_of_healing(stage: Stage) -> None:
    code, lines = stage.make(Once())
    assert (code, len(lines), Break.healed) == (0, 3, [])


def test_the_seed_is_told_where_it_mattered(stage: Stage) -> None:
    assert "  chosen by --seed 7" in stage.make(Pick())[1]
    assert not any("--seed" in line for line in stage.make(Break())[1])


@pytest.mark.parametrize(
    ("fault", "message", "mend"),
    [
        (Isolate(target=Target(("majority of cache-1",))), "there is no majority of 1", "name them: cache-1"),
        (Isolate(target=Target(("boss of cache",))), 'no node of "cache" is boss now', "name the nodes"),
        (Isolate(target=Target(("cach",))), '"cach" is no node and no component', 'did you mean "cache"?'),
        (Partition(shape="majority", target=Target(("cache-1",))), "needs 3 nodes or more", "name more nodes"),
        (Cut(target=Target(("all",))), "nobody is left on the other side", "name fewer nodes"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_with_nothing_touched(
    stage: Stage, fault: Fault, message: str, mend: str
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        stage.make(fault)
    assert mend in str(refused.value.mend)
    assert (refused.value.exit_code, stage.agent.orders, stage.told) == (64, [], [])


def test_what_the_kernel_lacks_is_refused_with_nothing_touched(stage: Stage) -> None:
    stage.agent.cannot["block"] = "this kernel has no nf_tables"
    with pytest.raises(UsageError, match="isolate cannot be made here: this kernel has no nf_tables") as refused:
        stage.make(Isolate(target=Target(("cache-1",))))
    assert "clusterkit chaos list" in str(refused.value.mend)
    assert stage.agent.orders == []


def test_nodes_that_share_an_address_are_refused_with_nothing_touched(stage: Stage) -> None:
    nodes = (node("cache-1", address="10.64.0.9"), node("cache-2", address="10.64.0.9"), node("cache-3"))
    with pytest.raises(UsageError, match=r"cache-1 and cache-2 share the address 10\.64\.0\.9") as refused:
        stage.make(Isolate(target=Target(("cache-3",))), nodes=nodes)
    assert "limit it to ports" in str(refused.value.mend)
    assert stage.agent.orders == []


# -- list, status, run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_faults())
def test_a_row_of_the_list_says_all_of_a_fault(name: str) -> None:
    fault = shipped_faults()[name]
    made = row(fault, "")
    assert json.loads(json.dumps(made)) == made
    assert (made["name"], made["available"], made["reason"]) == (name, True, "")
    assert all(one["help"] for one in made["fields"]), f"a field of {name} has no text below it"
    assert made["summary"].endswith(".")


def test_why_a_fault_cannot_be_made() -> None:
    class NeedsDisk(Isolate):
        needs_disk = True

    assert why_not(Isolate, None, has_disk=False) is None
    assert why_not(Isolate, {"block": ""}, has_disk=False) == ""
    assert why_not(Isolate, {"block": "no nft here"}, has_disk=True) == "no nft here"
    assert why_not(Isolate, {}, has_disk=True) == 'the agent does not know "block"'
    assert "data: loop" in str(why_not(NeedsDisk, {"block": ""}, has_disk=False))
    assert why_not(NeedsDisk, {"block": ""}, has_disk=True) == ""


def test_without_a_cluster_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "list", "--format", "json")
    assert code == 0
    assert {(one["available"], one["reason"]) for one in json.loads(out)} == {(None, NO_CLUSTER)}


def test_until_when() -> None:
    assert until(MARK) == "healed"
    assert until(replace(MARK, is_overdue=True), " -f a.yml") == "overdue: clusterkit chaos heal -f a.yml"
    assert until(replace(MARK, left_s=75.4)).endswith("(in 1m15s)")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.04, "0s"), (1.25, "1.2s"), (59.7, "1m"), (600, "10m"), (3723, "1h2m3s")]
)
def test_how_long(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_links_of_the_topology_are_no_faults() -> None:
    link = replace(MARK, id="link-1", owner="links")
    assert split([MARK, link]) == ([MARK], [link])


def test_a_mark_for_programs() -> None:
    said = as_json(replace(MARK, left_s=1.23456))
    assert (said["since"], said["left_s"], said["overdue"]) == ("2023-11-14T22:13:20.000+00:00", 1.235, False)


TOPOLOGY = """
name: shop
components: {registry: {kind: etcd}}
chaos:
  scenarios:
    storm: {time: 20s, faults: [{every: 5s, for: 2s, isolate: one of registry}]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", [[], ["storm"]])
def test_a_dry_run_prints_the_schedule_and_needs_no_engine(
    words: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    code, out, _ = run(capsys, "run", *words, "--dry-run", "--seed", "3")
    assert code == 0
    assert out.splitlines() == [
        "storm: 3 faults in 20s, --seed 3",
        '   5.0 s to    7.0 s  isolate "one of registry"',
        '  10.0 s to   12.0 s  isolate "one of registry"',
        '  15.0 s to   17.0 s  isolate "one of registry"',
    ]


def test_a_scenario_may_be_a_file_and_last_another_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "short.yml").write_text("faults: [{at: 1s, for: 2s, isolate: registry-1}]")
    code, out, _ = run(capsys, "run", "short.yml", "--dry-run", "--seed", "3", "--time", "9s")
    assert code == 0
    assert out.splitlines()[0] == "short: 1 fault in 9s, --seed 3"


def test_scenarios_that_are_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", "strom", "--dry-run")
    assert (code, 'did you mean "storm"?' in err) == (64, True)
    (folder / "clusterkit.yml").write_text("components: {registry: {kind: etcd}}")
    code, _, err = run(capsys, "run", "--dry-run")
    assert (code, "the topology has no scenarios" in err) == (64, True)


def test_a_summary_in_words_and_its_exit_code() -> None:
    assert list(told(Summary(made=3))) == ["3 faults made, 3 of them bit"]
    assert exit_code(Summary(made=3)) == 0
    assert exit_code(Summary(made=3, declined=1)) == 0
    assert exit_code(Summary(declined=1)) == 1
    bad = Summary(made=2, not_biting=["cut-1"], still_felt=["cut-2"], troubles=["the agent is gone"])
    assert list(told(bad)) == [
        "2 faults made, 1 of them bit",
        "did not bite: cut-1",
        "were still felt when they were healed: cut-2",
        "the agent is gone",
    ]
    assert exit_code(bad) == 1


def test_a_cluster_that_is_not_up_is_not_broken() -> None:
    opened = ChaosCluster("shop", None, cast(Any, None), Journal(), None)
    opened.record = None
    with pytest.raises(UsageError, match='no cluster "shop" is up'), opened.up():
        pass
