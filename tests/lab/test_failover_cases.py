# SPDX-License-Identifier: Apache-2.0
"""More of the numbered failure cases of facts/ha.md 3.9, beside those of test_failover.py: daemons and networks that fail
and fence nobody, and what fails while a fence is under way.

One lab, one guest. Each test begins with a whole cluster, and ends with the judge of the guest's disk: nothing that it
was told is written may be lost, or be there twice.
"""

import contextlib
import os
import signal
import time

import hardship
import phase_kill
import pytest
from moving import OTHER, SETTLE_S, judge, make_demo, make_ready, qemu_pids, wait_no_task, wait_runs_on

from mortarcluster import Recorder
from mortarcluster.faults import HOSTS, lead_store

HOLD_S = 30  # longer than any time-out after which a host is fenced or gives its guests away
SHORT_S = 10
STALL_S = 25  # network.ping-timeout is found within 10 to 20 s; a lost guest would take longer to be missed
SOON_S = 60  # a power cut alone takes 12 to 17 s until the heartbeat on a busy machine
WATCHDOG_S = 5  # T_wd: a real watchdog would reset the host whose guard is away for so long
# As if systemd did not watch the guard.
UNWATCHED = """mkdir -p /run/systemd/system/mortar-guard.service.d
printf '[Service]\\nWatchdogSec=0\\n' > /run/systemd/system/mortar-guard.service.d/lab.conf
systemctl daemon-reload
systemctl restart mortar-guard"""
WATCHED = """rm -rf /run/systemd/system/mortar-guard.service.d
systemctl daemon-reload
systemctl kill -s KILL mortar-guard"""


@pytest.fixture(scope="module")
def demo(cluster):
    """The demo guest."""
    return make_demo(cluster)


@pytest.fixture
def guest(cluster, demo):
    """The guest on a whole cluster."""
    make_ready(cluster, demo)
    return demo


def write_on(heart, count=10, within_s=STALL_S):
    """Until the guest has flushed so many more."""
    last = heart.last()
    heart.wait_for(lambda line: line[3]["flushed"] > last[3]["flushed"] + count, within_s)


def write_through(heart, for_s=HOLD_S):
    """It writes on, all the time while a fault lasts."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        write_on(heart)


def check_is_same(cluster, guest, before, process):
    """It is the same instance, by the store and by its QEMU. before: `vm show`."""
    after = guest.seen("host3")
    assert (after["host"], after["epoch"]) == (before["host"], before["epoch"])
    assert qemu_pids(cluster.lab, before["host"], guest.name) == process


@contextlib.contextmanager
def undisturbed(cluster, guest):
    """(its host, its heart): whatever is done inside, the guest is never started anew or ended, and nobody is fenced."""
    before, lives = guest.seen("host3"), cluster.incarnations()
    process = qemu_pids(cluster.lab, before["host"], guest.name)
    with Recorder(cluster.lab, guest.name) as heart:
        heart.wait_for(lambda line: line[3]["flushed"] > 10)
        yield before["host"], heart
        write_on(heart)
        ticks = [line[2] for line in heart.lines]
        assert ticks == sorted(set(ticks)), "it was started anew"
        cluster.wait_whole()
        write_on(heart)
        flushed = heart.last()[3]["flushed"]
    assert cluster.incarnations() == lives, "somebody was fenced"
    check_is_same(cluster, guest, before, process)
    judge(cluster, guest, flushed)


@contextlib.contextmanager
def taken_over(cluster, guest, within_s=SETTLE_S):
    """(its host, its heart): what is done inside has it started once on the other host, and it writes there."""
    before = guest.seen("host3")
    old, new = before["host"], OTHER[before["host"]]
    with Recorder(cluster.lab, guest.name) as heart:
        first = heart.wait_for(lambda line: line[1] == old)
        heart.wait_for(lambda line: line[3]["flushed"] > first[3]["flushed"] + 50)
        start, began = heart.mark(), time.monotonic()
        yield old, heart
        heart.wait_for(lambda line: line[1] == new, within_s)
        print(f"\n{old} → {new}: heartbeat after {heart.last()[0] - began:.1f} s")
        flushed = max(line[3]["flushed"] for line in heart.lines[start:] if line[1] == old)
        last = heart.wait_for(lambda line: line[1] == new and line[3]["flushed"] > 50, SETTLE_S)
        flushed = max(flushed, last[3]["flushed"])
    assert guest.seen("host3")["epoch"] > before["epoch"]
    for host in HOSTS:
        if cluster.lab.host(host).state() == "off":
            cluster.lab.boot(host, deadline_s=0)
    cluster.lab.heal()
    cluster.wait_whole()
    assert wait_runs_on(cluster, guest.name, [new])["host"] == new, "who comes back takes nothing away"
    judge(cluster, guest, flushed)


def guard_pid(cluster, host):
    """Pid of the guard, as this machine sees it; None when there is none."""
    return next(iter(phase_kill.pids_named(cluster.lab, host, "mortar-guard")), None)


def has_right(cluster, host):
    """Does the guard of a host answer, and may guests run there?"""
    with contextlib.suppress(OSError, ValueError):  # it has ended before it answered
        return hardship.Guard(cluster.lab, host).status()["run_right"]


def wait_another_guard(cluster, host, gone, within_s):
    """Until another guard runs in the host and has the right to let guests run; the seconds until it ran."""
    began = time.monotonic()
    cluster.wait_until("there is another guard", lambda: guard_pid(cluster, host) not in (None, gone), within_s)
    took_s = time.monotonic() - began
    cluster.wait_until("it has the right to run", lambda: has_right(cluster, host), 30)
    return took_s


def state_of(cluster, host, through):
    """What a host knows of another one's membership."""
    return cluster.incarnations(through)[host][0]


def wait_fencing(cluster, host, through):
    """Until a fence of this host is under way, and is not over."""
    cluster.wait_until(f"{host} is being fenced", lambda: state_of(cluster, host, through) != "online", 60)


def alarms(cluster, through="host3"):
    """(alarm, object) of all alarms that a host shows."""
    return {(alarm["alarm"], alarm["object"]) for alarm in cluster.show(through, "status")["alarms"]}


def test_case_5_a_guard_that_is_killed_is_another_one_at_once_and_costs_nothing(cluster, guest):
    with undisturbed(cluster, guest) as (_, heart):
        for host in HOSTS:
            gone = guard_pid(cluster, host)
            os.kill(gone, signal.SIGKILL)
            took_s = wait_another_guard(cluster, host, gone, 30)
            print(f"\n{host}: another guard after {took_s:.2f} s")
            assert took_s < WATCHDOG_S
            write_on(heart)


def test_case_5_a_guard_that_is_killed_in_a_fence_only_delays_it(cluster, guest):
    """It has forgotten what it promised, and waits as long as the longest of its promises could last."""
    with taken_over(cluster, guest, SOON_S) as (old, _):
        cluster.lab.cut(old)
        wait_fencing(cluster, old, "host3")
        for host in ("host3", OTHER[old]):
            os.kill(guard_pid(cluster, host), signal.SIGKILL)


def test_case_8_without_its_management_network_a_host_keeps_its_guests(cluster, guest):
    """Promises go on over the other network; without the store it takes no orders, and others say so."""
    with undisturbed(cluster, guest) as (host, heart):
        cluster.lab.partition(host, None, "mgmt")
        write_through(heart)
        cluster.wait_until("the others tell of it", lambda: ("host.silent", host) in alarms(cluster), 60)
        assert not cluster.has_store(host), "it is cut off"
        task = cluster.mortar("host3", "vm", "migrate", guest.name, "--to", OTHER[host], "--no-wait").stdout.strip()
        write_through(heart, SHORT_S)
        assert cluster.show("host3", "task", "show", task)["phase"] == "check", "it took an order"
        cluster.mortar("host3", "task", "cancel", task)
        assert not cluster.is_frozen(host)
        cluster.lab.heal()
        cluster.wait_until("it reaches the store again", lambda: cluster.has_store(host))
        wait_no_task(cluster)


def test_case_11_two_hosts_that_do_not_hear_each_other_fence_nobody(cluster, guest):
    """Each has two of three promises, and only one fencer calls each of them silent."""
    with undisturbed(cluster, guest) as (host, heart):
        lead_store(cluster, "host3")  # no election is part of it
        cluster.lab.partition(host, OTHER[host])
        for a, b in OTHER.items():
            cluster.wait_until(f"{a} does not hear {b}", lambda a=a, b=b: hardship.Guard(cluster.lab, a).status()[
                "peers"][b]["silent"], 30)
        write_through(heart)
        failed = cluster.mortar("host3", "vm", "migrate", guest.name, "--to", OTHER[host], check=False)
        print(f"\nmigration: exit {failed.returncode}: {failed.stderr.strip()[-300:]}")
        assert failed.returncode, "there is no way to the other host"
        wait_no_task(cluster)
        write_on(heart)
        assert not qemu_pids(cluster.lab, OTHER[host], guest.name), "nothing half-made"
        cluster.lab.heal()


def test_case_12_one_member_of_etcd_less_is_not_noticed(cluster, guest):
    """The leader, on the guest's own host: what changes the store still works, through every host."""
    with undisturbed(cluster, guest) as (host, heart):
        lead_store(cluster, host)
        cluster.lab.exec(host, ["systemctl", "kill", "-s", "KILL", "etcd"])
        cluster.lab.exec(host, ["systemctl", "stop", "etcd"])
        write_through(heart)
        for through, priority in zip(HOSTS, ("high", "low", "normal")):
            cluster.mortar(through, "vm", "set", guest.name, "--priority", priority)
            cluster.wait_until("all know it", lambda priority=priority: all(
                guest.seen(asked)["priority"] == priority for asked in HOSTS))
        cluster.lab.exec(host, ["systemctl", "start", "--no-block", "etcd"])


def test_case_15_a_guest_whose_host_is_left_alone_stands_still_and_is_never_killed(cluster, guest):
    """Two of three hosts down: neither promises nor data have a majority."""
    before = guest.seen("host3")
    host, process = before["host"], qemu_pids(cluster.lab, before["host"], guest.name)
    with Recorder(cluster.lab, guest.name) as heart:
        heart.wait_for(lambda line: line[3]["flushed"] > 50)
        for down in ("host3", OTHER[host]):
            cluster.lab.cut(down)
        cluster.wait_until("it is frozen", lambda: cluster.is_frozen(host), 30)
        frozen_at = time.monotonic()
        time.sleep(HOLD_S)  # the outage itself
        assert cluster.is_frozen(host) and qemu_pids(cluster.lab, host, guest.name) == process
        still = heart.last()
        assert still[0] < frozen_at + 1, "it ran"
        cluster.lab.boot("host3", deadline_s=0)
        heart.wait_for(lambda line: line[3]["flushed"] > still[3]["issued"], SETTLE_S)
        assert cluster.lab.host(OTHER[host]).state() == "off", "two of three are enough"
        ticks = [line[2] for line in heart.lines]
        assert ticks == sorted(set(ticks)), "it was started anew"
        cluster.lab.boot(OTHER[host], deadline_s=0)
        cluster.wait_whole()
        write_on(heart)
        flushed = heart.last()[3]["flushed"]
    check_is_same(cluster, guest, before, process)
    judge(cluster, guest, flushed)


def test_case_16_coordinators_that_are_killed_in_a_fence_do_it_to_the_end(cluster, guest):
    with taken_over(cluster, guest, SOON_S) as (old, _):
        cluster.lab.cut(old)
        wait_fencing(cluster, old, "host3")
        for host in (OTHER[old], "host3") * 2:
            phase_kill.kill(cluster.lab, host, "agent")


def test_case_17_a_coordinator_that_stops_in_a_fence_and_goes_on_later_harms_nothing(cluster, guest):
    """The agent of the new host, from before the fence is over until it was to be: what it had decided is late."""
    with taken_over(cluster, guest, SOON_S) as (old, _):
        cluster.lab.cut(old)
        wait_fencing(cluster, old, "host3")
        stopped = phase_kill.pids(cluster.lab, OTHER[old], "agent")[0]
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(2 * WATCHDOG_S)  # the stop itself; systemd ends it after 30 s
        assert not qemu_pids(cluster.lab, OTHER[old], guest.name), "nobody else starts guests there"
        os.kill(stopped, signal.SIGCONT)


def test_case_18_a_second_host_that_dies_in_a_fence_holds_up_the_restart_until_it_is_back(cluster, guest):
    epoch = guest.seen("host3")["epoch"]
    with taken_over(cluster, guest) as (old, heart):
        new = OTHER[old]
        cluster.lab.cut(old)
        wait_fencing(cluster, old, new)
        assert state_of(cluster, old, new) == "fencing"
        cluster.lab.cut("host3")
        time.sleep(HOLD_S)  # the outage itself
        assert not qemu_pids(cluster.lab, new, guest.name), "one host alone started it"
        assert cluster.vm(guest.name, new)["epoch"] == epoch
        assert heart.last()[1] == old
        cluster.lab.boot("host3", deadline_s=0)


def test_case_22_a_guard_that_is_stopped_is_started_anew_and_costs_nothing(cluster, guest):
    """systemd misses its word within 2 s, before anybody calls the host silent."""
    with undisturbed(cluster, guest) as (host, _):
        gone = guard_pid(cluster, host)
        os.kill(gone, signal.SIGSTOP)
        took_s = wait_another_guard(cluster, host, gone, 30)
        print(f"\n{host}: another guard after {took_s:.2f} s")
        assert took_s < WATCHDOG_S


def test_case_22_behind_a_guard_that_stays_stopped_nothing_is_lost_or_written_twice(cluster, guest):
    """Nobody freezes it: it runs on beside the one that was started elsewhere, until its host hears that it is fenced."""
    host = guest.seen("host3")["host"]
    cluster.lab.exec(host, ["sh", "-c", UNWATCHED])
    try:
        cluster.wait_until("it has the right to run", lambda: has_right(cluster, host))
        with taken_over(cluster, guest) as (_, heart):
            os.kill(guard_pid(cluster, host), signal.SIGSTOP)
            heart.wait_for(lambda line: line[1] == OTHER[host], SETTLE_S)
            assert not cluster.is_frozen(host), "something else than its guard froze it"
            cluster.lab.exec(host, ["sh", "-c", WATCHED])
    finally:
        cluster.lab.exec(host, ["sh", "-c", WATCHED])
