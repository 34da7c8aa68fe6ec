# SPDX-License-Identifier: Apache-2.0
"""Failure case 14 of facts/ha.md 3.9: the store is lost, and restored from a snapshot of before a machine was moved.

One lab; the second test begins with what the first has left: a cluster whose store was restored once.
"""

import time

import pytest
from histories import put_guest_files

from mortarcluster import CommandFailed, Keeper
from mortarcluster.faults import DATA_HOSTS, other
from mortarcluster.keeper import make_guest
from mortarlab import LabError

SNAPSHOT = "/root/store-{}.snap"
RESTORER = "host1"
REFUSED = 4  # exit code, mortar(1)


@pytest.fixture(scope="module")
def cluster(cluster):
    """With the guest's files."""
    return put_guest_files(cluster)


@pytest.fixture(scope="module")
def guest(cluster):
    """A guest that writes."""
    guest = make_guest(cluster, "db1")
    guest.create()
    cluster.wait_heard("host3", guest.name)
    return guest


def qemus(cluster, name):
    """{host: process ids} of a machine's QEMUs, wherever they are."""
    found = {}
    for host in DATA_HOSTS:
        pids = cluster.lab.exec(host, ["pgrep", "-f", f"guest={name},"], check=False).stdout.split()
        if pids:
            found[host] = pids
    return found


def alarms(cluster, host=RESTORER):
    """Texts of the alarms about the restore, or that the store is not there."""
    done = cluster.mortar(host, "status", "--json", check=False)
    if done.returncode:
        return [done.stderr]
    shown = cluster.show(host, "status")
    return [a["text"] for a in shown["alarms"] if a["alarm"].startswith("store.")]


def is_running_on(cluster, guest, there):
    """Do all hosts say so? Agents begin anew after a restore."""
    try:
        shown = [guest.seen(host) for host in ("host1", "host2", "host3")]
    except (CommandFailed, LabError, ValueError):
        return False
    return all(vm["host"] == there and vm["state"] == "running" for vm in shown)


def store(cluster):
    """(members, healthy ones) of the store."""
    etcd = cluster.show(RESTORER, "status")["cluster"]["etcd"]
    return etcd["members"], etcd["healthy"]


def writes_on(keeper, host, count=100, within_s=120):
    """Until the guest has flushed so many more numbers on a host."""
    first = keeper.heart.wait_for(lambda line: line[1] == host, within_s)
    keeper.heart.wait_for(lambda line: line[1] == host and line[3]["flushed"] > first[3]["flushed"] + count, within_s)


def save(cluster, number):
    """A snapshot on the host that will restore it."""
    path = SNAPSHOT.format(number)
    cluster.mortar(RESTORER, "store", "save", path)
    return path


def test_a_machine_that_was_moved_goes_on_where_it_is(cluster, guest):
    with Keeper(cluster, guest) as keeper:
        old = guest.seen("host3")["host"]
        writes_on(keeper, old)
        path = save(cluster, 1)
        cluster.mortar("host3", "vm", "migrate", guest.name, timeout=180)
        new = other(old)
        writes_on(keeper, new)
        running = qemus(cluster, guest.name)
        assert list(running) == [new]
        done = cluster.answer(RESTORER, "store", "restore", path, "--yes")
        assert done.returncode == REFUSED and "still runs" in done.stderr, done.stderr
        for host in ("host2", "host3"):
            cluster.mortar(host, "store", "clear", "--yes")
        begun = time.monotonic()
        cluster.mortar(RESTORER, "store", "restore", path, "--yes", timeout=180)
        cluster.wait_until("hosts are asked what runs there", lambda: any("restored" in text for text in alarms(cluster)), 60)
        refused = cluster.answer("host3", "vm", "stop", guest.name)
        assert refused.returncode and "restored" in refused.stderr, refused.stderr
        cluster.wait_until("it is known what runs where", lambda: not alarms(cluster), 120)
        print(f"\nknown after {time.monotonic() - begun:.1f} s")
        cluster.wait_until("all say where it runs", lambda: is_running_on(cluster, guest, new))
        writes_on(keeper, new)
        assert qemus(cluster, guest.name) == running  # nobody has started or ended one
        cluster.wait_until("the store has its members again", lambda: store(cluster) == (3, 3), 240)
        cluster.wait_whole()
        cluster.mortar("host3", "vm", "migrate", guest.name, timeout=180)
        writes_on(keeper, old)
        assert not keeper.judge()


def test_a_host_that_died_is_fenced_before_its_machine_starts_elsewhere(cluster, guest):
    cluster.wait_whole()
    with Keeper(cluster, guest) as keeper:
        if guest.seen("host3")["host"] == RESTORER:
            cluster.mortar("host3", "vm", "migrate", guest.name, timeout=180)
        writes_on(keeper, other(RESTORER))
        path = save(cluster, 2)
        cluster.mortar("host3", "store", "clear", "--yes")
        cluster.lab.cut("host2")
        cluster.mortar(RESTORER, "store", "restore", path, "--yes", timeout=180)
        cluster.wait_until("host2 is fenced", lambda: cluster.incarnations("host3")["host2"][0] == "fenced", 120)
        writes_on(keeper, RESTORER)
        cluster.lab.boot("host2")
        cluster.wait_until("its agent answers", lambda: cluster.mortar("host2", "version", check=False).returncode == 0)
        cluster.mortar("host2", "store", "clear", "--yes")
        cluster.wait_whole()
        cluster.wait_until("the store has its members again", lambda: store(cluster) == (3, 3), 240)
        assert list(qemus(cluster, guest.name)) == [RESTORER]
        assert not keeper.judge()
