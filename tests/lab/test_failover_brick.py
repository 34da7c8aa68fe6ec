# SPDX-License-Identifier: Apache-2.0
"""Case 19 of facts/ha.md 3.9: a brick that cannot prove that nothing of a dead host is left in it, on real bricks.

Three storage hosts and two that only run VMs: where the dead host has a brick itself, nothing is ended.
"""

import time

import pytest

from mortarcluster import Cluster, Guest, Recorder
from mortarcluster import guest as guest_module

COMPUTE = ("host4", "host5")
STALL_S = 1.5  # no write was acknowledged for so long: one waits in the brick that stands still


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Failover on, and nobody with both a brick and a guest."""
    cluster = Cluster(make_lab(hosts=5, disk_size="2G", debs=debs_dir))
    cluster.change("host1", "init", "case19", *cluster.addresses("host1"), "--allow-emulation", "--role", "storage")
    roles = {"host2": "storage", "host3": "storage", "host4": "compute", "host5": "compute"}
    for host, role in roles.items():
        cluster.join(host, role=role)
    cluster.wait_told(["host1", *roles])
    cluster.create_pool()
    cluster.mortar("host1", "pool", "ha", "vms")
    return cluster


@pytest.fixture(scope="module")
def guest(cluster):
    guest = Guest(cluster, writes_per_s=20, emit_ms=20)
    for host in COMPUTE:
        guest.put_files(guest_module.build(), host)
    guest.create("vms", "host4")
    cluster.wait_heard("host2", guest.name)
    return guest


def brick(cluster, host):
    """Pid of the brick process in a host; None when there is none."""
    pids = cluster.lab.exec(host, ["pgrep", "-x", "glusterfsd"], check=False).stdout.split()
    return pids[0] if pids else None


def stands_still(heart):
    """Its guest ticks on, and for STALL_S none of its writes was acknowledged."""
    lines = list(heart.lines)
    since = next(line[0] for line in lines if line[3]["flushed"] == lines[-1][3]["flushed"])
    return lines[-1][0] - since > STALL_S


def alarms(cluster, name, through="host2"):
    return [a["text"] for a in cluster.show(through, "status")["alarms"] if a["alarm"] == name]


def test_case_19_a_brick_that_stands_still_is_ended_and_comes_back(cluster, guest):
    old = guest.seen("host2")["host"]
    new = COMPUTE[1 - COMPUTE.index(old)]
    cluster.wait_until("nothing is left to heal", cluster.is_healed, 120)
    stopped = brick(cluster, "host1")
    with Recorder(cluster.lab, guest.name, hosts=COMPUTE) as heart:
        first = heart.wait_for(lambda line: line[1] == old)
        heart.wait_for(lambda line: line[3]["flushed"] > first[3]["flushed"] + 10)
        cluster.lab.exec("host1", ["kill", "-STOP", stopped])
        cluster.wait_until("a write waits in it", lambda: stands_still(heart), 30)
        began = time.monotonic()
        cluster.lab.cut(old)
        cluster.wait_until("the brick is ended", lambda: brick(cluster, "host1") != stopped, 60)
        ended_s = time.monotonic() - began
        heart.wait_for(lambda line: line[1] == new, 180)
        print(f"\n{old} → {new}: brick ended after {ended_s:.1f} s, heartbeat after {heart.last()[0] - began:.1f} s")
    told = [item["text"] for item in cluster.show("host2", "vm", "why", guest.name)["items"]]
    assert any(f"on host1 has ended, with all that was left in it of {old}" in text for text in told), told
    assert alarms(cluster, "brick.ended")
    cluster.wait_until("it is back, and whole", lambda: not alarms(cluster, "brick.ended"), 240)
    assert brick(cluster, "host1") not in (None, stopped)
    cluster.lab.boot(old)
    cluster.wait_whole("host2")
    cluster.mortar("host2", "vm", "stop", guest.name)
    verdict = guest.judge(new)
    assert verdict["ok"], verdict["violations"]
