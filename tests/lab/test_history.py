# SPDX-License-Identifier: Apache-2.0
"""The history of a guest's disk over failovers, judged by C1 to C6 of facts/ha.md 5.1, and what each part of the fence
protects: the judge must find it when the part is switched off (docs/lab.md); one case by MORTAR_SEED, all with MORTAR_FULL=1.

The fault of the second half is the hardest that a lab can make: guard and agent of the guest's host are dead, its
guest, its mount and its links live on. Nothing on that host ends the writer; the cut at the bricks alone does. Two
instances do execute then (S3 needs a guard or a watchdog), so C6 is left out; it is for the simulator and the guards
(tests/integration/test_guard.py).
"""

import os
import random

import pytest
from histories import a_guest, judged, put_guest_files, switched_off, writes_on

from mortarcluster import Keeper
from mortarcluster.faults import FAULTS, HOSTS, other
from mortarcluster.keeper import make_guest

IS_FULL = os.environ.get("MORTAR_FULL") == "1"
SEED = int(os.environ.get("MORTAR_SEED", "1"))
RUNS = 3  # within so many a violation must be found; the first has always shown it so far


@pytest.fixture(scope="module")
def cluster(cluster):
    """With the guest's files."""
    return put_guest_files(cluster)


@pytest.fixture
def guest(cluster):
    """A guest with a fresh disk, gone afterwards."""
    with a_guest(cluster) as guest:
        yield guest


def fail_over(cluster, keeper, breaks):
    """breaks(host) hits the guest's host; both instances' blocks are looked at while the second writes."""
    old = keeper.guest.seen("host3")["host"]
    writes_on(keeper, old)
    breaks(old)
    keeper.heart.wait_for(lambda line: line[1] == other(old), 180)
    keeper.look(other(old))
    writes_on(keeper, other(old))
    keeper.look(other(old))
    return old


def test_a_history_over_a_failover_is_whole(cluster, guest):
    kind = random.Random(SEED).choice(["power", "network"])
    print(f"\nMORTAR_SEED={SEED}: {kind}")
    breaks, mends = FAULTS[kind]
    with Keeper(cluster, guest) as keeper:
        old = fail_over(cluster, keeper, lambda host: breaks(cluster.lab, host))
        mends(cluster.lab, old)
        cluster.wait_whole()
        keeper.look_at_rest()
        assert not judged(keeper)
        tags = {(slot.epoch, slot.tag) for view in keeper.views for slot in view.slots.values() if slot.state == "whole"}
        print(f"epochs and tags of the blocks: {sorted(tags)}")
        assert {tag for _, tag in tags} == {"right"} and len(tags) > 1, "each instance wrote with its own key"


# -- a writer that nobody on its host can stop


def blink_bricks(cluster, writer):
    """The writer's connections to each brick are lost once, one brick after the other, and come again: with them goes
    QEMU's lock of the image, which is a guard against accidents and no fence (facts/ha.md 0.9)."""
    address = cluster.lab.host(writer).address("stor")
    words = ["-H", "-n", "-t", "state", "established", "sport", ">=", ":49152", "and", "dst", address]
    for host in sorted(HOSTS, reverse=True):
        def connections(host=host):
            return len(cluster.lab.exec(host, ["ss", *words]).stdout.splitlines())
        before = connections()
        assert before
        cluster.lab.exec(host, ["ss", "-K", *words])
        cluster.wait_until(f"{writer} is connected to the brick of {host} again", lambda: connections() >= before)


def blames(keeper, host):
    """gfids of which a brick blames another, just now: an agent's own look at it may be ten seconds old."""
    brick, _ = keeper.image_on(host)
    return [name for name in os.listdir(brick / ".glusterfs/indices/xattrop") if not name.startswith("xattrop-")]


def orphan(cluster, host):
    """Agent and guard of a host are dead and stay dead."""
    cluster.lab.exec(host, ["systemctl", "mask", "--runtime", "mortard", "mortar-guard"])
    cluster.lab.exec(host, ["systemctl", "kill", "-s", "KILL", "mortard", "mortar-guard"])


def adopt(cluster, host):
    """And live again."""
    cluster.lab.exec(host, ["systemctl", "unmask", "--runtime", "mortard", "mortar-guard"])
    cluster.lab.exec(host, ["systemctl", "reset-failed"], check=False)
    cluster.lab.exec(host, ["systemctl", "start", "mortar-guard", "mortard"])


def orphan_run(cluster, keeper, loses_lock):
    """One failover away from a host that has lost agent and guard; what the judge finds. loses_lock: of the image, which
    else hides a missing fence; with the fence it goes by the cut."""
    old = keeper.guest.seen("host3")["host"]
    writes_on(keeper, old)
    if loses_lock:
        blink_bricks(cluster, old)
        cluster.wait_until("no brick is blamed", lambda: not any(blames(keeper, host) for host in HOSTS), 120)
    try:
        fail_over(cluster, keeper, lambda host: orphan(cluster, host))
    except TimeoutError as error:  # an instance that does not like its disk writes nothing
        print(f"\n{error}")
        keeper.look(other(old))
    finally:
        adopt(cluster, old)
    return judged(keeper, leave_out=("C6",))


def test_an_orphaned_writer_reaches_no_brick(cluster, guest):
    with Keeper(cluster, guest) as keeper:
        assert not orphan_run(cluster, keeper, loses_lock=False)
        cluster.wait_whole()
        keeper.look_at_rest()
        assert not judged(keeper, leave_out=("C6",))


def found_within_bound(cluster, part, hosts_of):
    """Runs with the part off until a violation shows; each with a guest of its own, for the disk is lost."""
    for run in range(RUNS):
        guest = make_guest(cluster, f"off{run}{part[:4]}")
        guest.create()
        cluster.wait_heard("host3", guest.name)
        old = guest.seen("host3")["host"]
        with switched_off(cluster, part, hosts_of(old)), Keeper(cluster, guest) as keeper:
            found = orphan_run(cluster, keeper, loses_lock=True)
        cluster.wait_whole()
        cluster.mortar("host3", "vm", "stop", guest.name, "--force", check=False)
        cluster.mortar("host3", "vm", "rm", guest.name)
        if found:
            print(f"found in run {run + 1}: {found[0]}")
            return found
    return []


# name → the hosts on which the fence does nothing, of those that survive
MUTANTS = {"no brick is fenced": lambda old: [host for host in HOSTS if host != old],
           "the data brick is not fenced": lambda old: [other(old)],
           "the arbiter is not fenced": lambda old: ["host3"]}
TRIED = sorted(MUTANTS) if IS_FULL else random.Random(SEED).sample(sorted(MUTANTS), 1)


@pytest.mark.parametrize("mutant", TRIED)
def test_the_judge_finds_the_old_writer_when(cluster, mutant):
    assert found_within_bound(cluster, "fence", MUTANTS[mutant])
