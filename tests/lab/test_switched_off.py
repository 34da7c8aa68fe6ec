# SPDX-License-Identifier: Apache-2.0
"""What the wait for promises and the start rule protect: each fault with that part switched off, which the judge of histories
must find, and with all of failover (docs/lab.md, docs/evidence/history.md)."""

import contextlib

import pytest
from executions import Executions
from histories import a_guest, judged, put_guest_files, switched_off, writes_on

from mortarcluster import Keeper
from mortarcluster.faults import HOSTS, cut_cables, lead_store, other
from mortarcluster.history import History
from mortarcluster.keeper import STILL_LINES

RUNS = 3  # within so many a violation must be found


@pytest.fixture(scope="module")
def cluster(cluster):
    """With the guest's files."""
    return put_guest_files(cluster)


def survivors(old):
    return [host for host in HOSTS if host != old]


# -- the wait for promises


def declared_dead(cluster, keeper, executions):
    """The guest's host loses its network and is declared dead before anybody has missed it: its promises stand for nearly
    their whole length. Until the new instance executes and the old one was frozen; what the judge says of the two."""
    old = keeper.guest.seen("host3")["host"]
    writes_on(keeper, old)
    lead_store(cluster, "host3")
    cut_cables(cluster.lab, old)
    cluster.mortar("host3", "host", "fence", old, "--yes")
    cluster.wait_until("the next instance executes", lambda: executions.on(other(old)))
    cluster.wait_until("the old one is frozen", lambda: cluster.is_frozen(old), 30)
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


# -- the start rule


LATE_BRICK = "host2"  # of two copies that nobody accuses, equally old, AFR takes the later brick's (docs/evidence/flip.md, 1a)
LONE_TRIES = 5  # the writer may just have had no lock of its disk when it lost the others


def stands_still(heart):
    """No write was acknowledged for a while, whatever was tried."""
    lines = list(heart.lines)[-STILL_LINES:]
    return len({line[3]["acked"] for line in lines}) == 1 and lines[0][3]["acked"] < lines[-1][3]["issued"]


def lone_blocks(keeper, host):
    """{block: slot} that are newer on a host's brick than on the other one."""
    alone, others = (keeper.look(name, counts=False).slots for name in (host, other(host)))
    return {block: slot for block, slot in alone.items() if slot.age() > others[block].age()}


def write_alone(cluster, keeper, host):
    """Its last writes reach the guest's host's own brick only: its storage network goes between two of them."""
    for _ in range(LONE_TRIES):
        writes_on(keeper, host)
        start = keeper.heart.mark()
        cluster.lab.partition(host, None, "storage")
        cluster.wait_until("its writes wait", lambda: keeper.heart.mark() - start > 2 * STILL_LINES and stands_still(keeper.heart), 5)
        lone = lone_blocks(keeper, host)
        if lone:
            return lone
        cluster.lab.heal()
    raise AssertionError(f"in {LONE_TRIES} tries no write reached one brick alone")


def look_from(cluster, keeper, hosts, **more):
    """What a guest would read at each of these hosts, and what their bricks hold."""
    for host in hosts:
        keeper.look_through(host, quiet=keeper.quiet)
        keeper.look(host, quiet=keeper.quiet, **more)


def lost_with_lone_writes(cluster, keeper, host):
    """The guest's host loses its power when its own brick alone has its last writes, and comes back after the guest has
    started elsewhere, and has judged its disk; it writes nothing before all is healed. The lone blocks."""
    reader = other(host)
    lead_store(cluster, "host3")
    lone = write_alone(cluster, keeper, host)
    keeper.keys.hold()
    cluster.lab.cut(host)
    cluster.lab.heal()
    cluster.wait_until("the next instance has judged its disk", lambda: keeper.keys.waiting, 240)
    keeper.quiet += 1
    look_from(cluster, keeper, [reader])
    cluster.lab.boot(host)
    cluster.wait_whole()
    keeper.wait_settled()
    look_from(cluster, keeper, [reader, host], healed=True)
    keeper.keys.release()
    writes_on(keeper, reader)
    return lone


def lone_run(cluster, parts):
    """What the judge finds after the guest's host was lost with its last writes, and has come back."""
    with a_guest(cluster) as guest, Keeper(cluster, guest) as keeper:
        keeper.heart.wait_for(lambda line: True)
        if guest.seen("host3")["host"] != LATE_BRICK:
            guest.migrate(LATE_BRICK, "host3")
        with contextlib.ExitStack() as stack:
            for part in parts:
                stack.enter_context(switched_off(cluster, part, survivors(LATE_BRICK)))
            lone = lost_with_lone_writes(cluster, keeper, LATE_BRICK)
        keeper.look_at_rest()
        print(f"\nalone on the brick of {LATE_BRICK}: {sorted(lone)}")
        return judged(keeper)


def test_a_write_on_the_dead_hosts_brick_alone_never_comes_back(cluster):
    assert not lone_run(cluster, [])


def test_without_the_start_rule_a_block_changes_when_the_dead_hosts_brick_is_healed(cluster):
    found = []
    for _ in range(RUNS):
        found = found or lone_run(cluster, ["launder"])
    assert "C2" in {violation.check for violation in found}
