# SPDX-License-Identifier: Apache-2.0
"""Steps that tests of a disk's history share: a guest of its own, parts of failover switched off, what the judge found."""

import contextlib
import os
import random

from mortarcluster import guest as guest_module
from mortarcluster.faults import DATA_HOSTS, HOSTS
from mortarcluster.keeper import make_guest

UNSAFE = "/etc/mortar/lab-unsafe"
WRITES = 200  # numbers of the new instance, so that old and new are on the disk together


def put_guest_files(cluster):
    """Where the guest may run. Return: the cluster"""
    for host in DATA_HOSTS:
        make_guest(cluster).put_files(guest_module.build(), host)
    return cluster


@contextlib.contextmanager
def a_guest(cluster, *words, **options):
    """A guest with a fresh disk, gone afterwards. words: of `vm create`; options: of make_guest()."""
    guest = make_guest(cluster, f"g{random.Random(os.urandom(8)).randrange(10**6)}", **options)
    guest.create("vms", "host1", *words)
    cluster.wait_heard("host3", guest.name, "stopped" if "--no-start" in words else "running")
    try:
        yield guest
    finally:
        with contextlib.suppress(Exception):
            cluster.mortar("host3", "vm", "stop", guest.name, "--force")
        cluster.mortar("host3", "vm", "rm", guest.name)


def writes_on(keeper, host, count=WRITES, within_s=120):
    """Until the guest has flushed so many more numbers on a host."""
    first = keeper.heart.wait_for(lambda line: line[1] == host, within_s)
    keeper.heart.wait_for(lambda line: line[1] == host and line[3]["flushed"] > first[3]["flushed"] + count, within_s)


def judged(keeper, **options):
    """What was found; printed, so that a failure explains itself."""
    found = keeper.judge(**options)
    print(f"\n{len(keeper.views)} views, {len(keeper.heart.lines)} beats, {len(found)} violations")
    for violation in found[:8]:
        print(f"  {violation}")
    return found


@contextlib.contextmanager
def switched_off(cluster, part, hosts):
    """The part is off on these hosts."""
    for host in hosts:
        cluster.lab.exec(host, ["sh", "-c", f"echo {part} > {UNSAFE}"])
    try:
        yield
    finally:
        for host in HOSTS:
            with contextlib.suppress(Exception):  # one that is off
                cluster.lab.exec(host, ["rm", "-f", UNSAFE])
