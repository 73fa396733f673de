"""Rules as iptables-restore reads them."""

from __future__ import annotations

from clusterkit.agent.program.mangle import restore

A, B = "10.64.0.11", "10.64.0.12"
EMPTY = "-P PREROUTING ACCEPT\n-P FORWARD ACCEPT\n"
OURS = f"{EMPTY}-N CLUSTERKIT\n-A FORWARD -j CLUSTERKIT\n-A CLUSTERKIT -s {B}/32 -j NFQUEUE --queue-num 7\n"


def test_a_chain_of_our_own_and_one_jump() -> None:
    assert restore([(A, B, ""), (B, A, "6379/tcp"), (A, B, "")], 7700, EMPTY).splitlines() == [
        "*mangle",
        ":CLUSTERKIT - [0:0]",
        f"-A CLUSTERKIT -s {A} -d {B} -j NFQUEUE --queue-num 7700 --queue-bypass",
        f"-A CLUSTERKIT -s {B} -d {A} -p tcp --dport 6379 -j NFQUEUE --queue-num 7700 --queue-bypass",
        "-I FORWARD -j CLUSTERKIT",
        "COMMIT",
    ]


def test_the_jump_is_not_made_twice() -> None:
    assert "FORWARD" not in restore([(A, B, "")], 7700, OURS)


def test_nothing_of_ours_stays() -> None:
    text = restore([], 0, OURS)
    assert text.splitlines() == ["*mangle", "-D FORWARD -j CLUSTERKIT", "-F CLUSTERKIT", "-X CLUSTERKIT", "COMMIT"]


def test_a_chain_without_a_jump_and_two_jumps_are_removed_as_well() -> None:
    assert "-D" not in restore([], 0, f"{EMPTY}-N CLUSTERKIT\n")
    assert restore([], 0, OURS + "-A FORWARD -j CLUSTERKIT\n").count("-D FORWARD -j CLUSTERKIT") == 2


def test_where_nothing_is_and_nothing_is_wanted_nothing_is_done() -> None:
    assert restore([], 0, EMPTY) == ""
