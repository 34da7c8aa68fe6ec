# SPDX-License-Identifier: Apache-2.0
"""What the wait for promises protects: the same fault twice, once with all of failover and once with that part switched
off, which the judge of histories must find (docs/lab.md, docs/evidence/history.md)."""

import contextlib

import pytest
from executions import Executions
from histories import a_guest, form, judged, switched_off, writes_on

from mortarcluster import Keeper
from mortarcluster.faults import HOSTS, cut_cables, lead_store, other
from mortarcluster.history import History

FROZEN = "cat /sys/fs/cgroup/mortar.slice/mortar-vms.slice/mortar-vms-ha.slice/cgroup.freeze"


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Three hosts, a mirrored pool with failover."""
    return form(make_lab, debs_dir)


def survivors(old):
    return [host for host in HOSTS if host != old]


# -- the wait for promises


def is_frozen(cluster, host):
    return cluster.lab.exec(host, ["sh", "-c", FROZEN]).stdout.strip() == "1"


def declared_dead(cluster, keeper, executions):
    """The guest's host loses its network and is declared dead before anybody has missed it: its promises stand for nearly
    their whole length. Until the new instance executes and the old one was frozen; what the judge says of the two."""
    old = keeper.guest.seen("host3")["host"]
    writes_on(keeper, old)
    lead_store(cluster, "host3")
    cut_cables(cluster.lab, old)
    cluster.mortar("host3", "host", "fence", old, "--yes")
    cluster.wait_until("the next instance executes", lambda: executions.on(other(old)))
    cluster.wait_until("the old one is frozen", lambda: is_frozen(cluster, old), 30)
    first, last = executions.on(other(old))[0], executions.on(old)[-1]
    found = History(executions.beats(), []).judge()
    print(f"\nthe old instance executed until {last - first:+.2f} s after the new one had begun: {[str(v) for v in found]}")
    return found


def promises_run(cluster, parts):
    """(what the judge says of who executed, what of the disk)"""
    with a_guest(cluster) as guest, Keeper(cluster, guest) as keeper:
        old = guest.seen("host3")["host"]
        with contextlib.ExitStack() as stack:
            for part in parts:
                stack.enter_context(switched_off(cluster, part, survivors(old)))
            try:
                with Executions(cluster.lab, guest.name) as executions:
                    executed = declared_dead(cluster, keeper, executions)
                writes_on(keeper, other(old))
            finally:
                cluster.lab.heal()
        cluster.wait_whole()
        keeper.look_at_rest()
        return executed, judged(keeper, leave_out=("C6",))


@pytest.fixture
def relaxed(cluster):
    """Promises last twice as long: more than enough for a start."""
    cluster.mortar("host1", "pool", "ha", "vms", "--profile", "relaxed")
    yield
    cluster.mortar("host1", "pool", "ha", "vms", "--profile", "standard")


def test_no_two_instances_execute_when_a_host_is_declared_dead(cluster, relaxed):
    assert promises_run(cluster, []) == ([], [])


def test_without_the_wait_for_promises_both_execute_and_the_disk_is_whole(cluster, relaxed):
    executed, disk = promises_run(cluster, ["promise"])
    assert [violation.check for violation in executed] == ["C6"]
    assert not disk, "that is the cut's, not the promises'"
