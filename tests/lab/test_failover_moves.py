# SPDX-License-Identifier: Apache-2.0
"""Migration under faults with failover on: the table of facts/ha.md 6.3.

Whatever dies in whatever phase: never do two run, one runs again without anybody's help, and nothing that
the guest had flushed is lost. Which host it is afterwards, the table says. Who loses a daemon or the
connection to the other is not fenced. Some of the cases are drawn from MORTAR_SEED; MORTAR_FULL=1 tries all.
"""

import os
import random

import phase_kill
import pytest
from moving import (OTHER, SETTLE_S, HurtMove, hurt_in, judge, make_demo, make_ready, qemu_pids, wait_more, wait_no_task,
                    wait_runs_on)

from mortarcluster.soak import STALL_MAX_S
from mortarcluster.strangers import Stalls

IS_FULL = os.environ.get("MORTAR_FULL") == "1"
SEED = int(os.environ.get("MORTAR_SEED", "1"))
ENDS = ("source", "target")
PHASES = ("claim", "copy", "switch-over", "handover")  # each commit apart: tests/sim/test_move_phases.c
POWER = [(who, phase) for who in ENDS for phase in PHASES]
STORE = [("etcd", phase) for phase in PHASES]
DAEMONS = [(who, daemon, phase) for phase in PHASES for who in ENDS for daemon in ("agent", "libvirtd")]
LINK = [("link", phase) for phase in PHASES]
CHANCE = random.Random(SEED)
SAMPLED = (POWER + STORE + DAEMONS + LINK if IS_FULL
           else CHANCE.sample(POWER + STORE, 2) + CHANCE.sample(DAEMONS + LINK, 2))
HOSTS = ("host1", "host2", "host3")


@pytest.fixture(scope="module")
def cluster(cluster):
    """Which cases this run has."""
    print(f"\nMORTAR_SEED={SEED}: {SAMPLED}")
    return cluster


@pytest.fixture(scope="module")
def demo(cluster):
    """The demo guest, born where the guard can freeze it."""
    return make_demo(cluster)


@pytest.fixture
def guest(cluster, demo):
    """The guest on a whole cluster."""
    make_ready(cluster, demo)
    return demo


@pytest.mark.parametrize("who, phase", POWER)
def test_a_move_whose_end_loses_its_power(cluster, guest, who, phase):
    if (who, phase) not in SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")
    with HurtMove(cluster, guest, *hurt_in(phase, lambda move: cluster.lab.cut(
            move.source if who == "source" else move.target))) as move:
        dead = move.source if who == "source" else move.target
        seen = wait_runs_on(cluster, guest.name, [OTHER[dead]])
        print(f"runs on {seen['host']} under epoch {seen['epoch']}, was {move.epoch}")
        assert seen["epoch"] >= move.epoch
        if who == "source" or phase == "handover":
            assert seen["epoch"] > move.epoch
        wait_more(move.heart, move.heart.mark())
        cluster.lab.boot(dead)
        flushed = max(move.flushed, move.heart.last()[3]["flushed"])
    wait_no_task(cluster)
    assert guest.seen("host3")["host"] == OTHER[dead], "who comes back takes nothing away"
    judge(cluster, guest, flushed)


@pytest.mark.parametrize("store, phase", STORE)
def test_a_move_that_loses_the_store_in_the_midst(cluster, guest, store, phase):
    if (store, phase) not in SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")
    with HurtMove(cluster, guest, *hurt_in(phase, lambda _move: phase_kill.kill_store(cluster.lab))) as move:
        # Copied or not: nobody may run it elsewhere while the record cannot be changed.
        copies = {host: len(qemu_pids(cluster.lab, host, guest.name)) for host in OTHER}
        assert copies[move.source] + copies[move.target] >= 1
        for host in HOSTS:
            cluster.lab.exec(host, ["systemctl", "start", "--no-block", "etcd"])
        wait_runs_on(cluster, guest.name)
        move.heart.wait_for(lambda line: line[3]["flushed"] > move.flushed + 50, SETTLE_S)
        ticks = [line[2] for line in move.heart.lines[move.start:]]
        assert ticks == sorted(set(ticks)), "it started anew"
        flushed = move.heart.last()[3]["flushed"]
    wait_no_task(cluster)
    judge(cluster, guest, flushed)


def moves_and_nobody_is_fenced(cluster, guest, phase, act, mend):
    """act(move) in a phase, mend() afterwards: the guest runs on one of both without a start, all hosts stay in."""
    before = cluster.incarnations()
    with Stalls() as stalls, HurtMove(cluster, guest, *hurt_in(phase, act)) as move:
        try:
            move.outcome()
        finally:
            mend()
        seen = wait_runs_on(cluster, guest.name)
        print(f"runs on {seen['host']} under epoch {seen['epoch']}, was {move.epoch}")
        flushed = max(move.flushed, move.heart.last()[3]["flushed"])
        move.heart.wait_for(lambda line: line[3]["flushed"] > flushed + 50, SETTLE_S)
        ticks = [line[2] for line in move.heart.lines[move.start:]]
        assert ticks == sorted(set(ticks)), "it started anew"
        flushed = move.heart.last()[3]["flushed"]
    wait_no_task(cluster)
    if stalls.longest_s > STALL_MAX_S:
        print(f"the machine stood still for {stalls.longest_s:.1f} s")
    else:
        assert cluster.incarnations() == before, "somebody was fenced"
    judge(cluster, guest, flushed)


@pytest.mark.parametrize("who, daemon, phase", DAEMONS)
def test_a_move_whose_end_loses_a_daemon(cluster, guest, who, daemon, phase):
    if (who, daemon, phase) not in SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")
    moves_and_nobody_is_fenced(cluster, guest, phase, lambda move: phase_kill.kill(
        cluster.lab, move.source if who == "source" else move.target, daemon), lambda: None)


@pytest.mark.parametrize("link, phase", LINK)
def test_a_move_whose_ends_lose_each_other(cluster, guest, link, phase):
    """No packet passes between the two on the storage network, and no socket is closed by anybody."""
    if (link, phase) not in SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")
    moves_and_nobody_is_fenced(cluster, guest, phase, lambda move: cluster.lab.partition(
        move.source, move.target, "storage"), cluster.lab.heal)
