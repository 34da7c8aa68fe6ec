# SPDX-License-Identifier: Apache-2.0
"""A drill in a lab, and what 'vm why' tells of it afterwards."""

import pytest
from moving import put_beside

from mortarcluster import Guest, Recorder
from mortarcluster import guest as guest_module
from mortarcluster.cluster import CommandFailed
from mortarlab.hook import PowerHook

DRILL_S = 600  # strike, failover, boot, heal, report
PING_TIMEOUT_MS = 10_000  # of src/adapters/gluster/gluster_profile.c


@pytest.fixture(scope="module")
def guest(cluster):
    """The demo guest."""
    guest = Guest(cluster, writes_per_s=20, emit_ms=20)
    for host in ("host1", "host2"):
        guest.put_files(guest_module.build(), host)
    guest.create()
    cluster.wait_heard("host3", guest.name)
    return guest


def positions(lines, *words):
    """Where each word first stands in the lines; a missing one fails with all lines."""
    found = []
    for word in words:
        at = next((i for i, line in enumerate(lines) if word in line), None)
        assert at is not None, f"nothing of {word!r} in\n" + "\n".join(lines)
        found.append(at)
    return found


def all_told(cluster, host):
    """`vm why` with every host's part; each is asked for it, and has 3 s for the answer."""
    def told():
        why = cluster.show(host, "vm", "why", "demo", "--since", "1h")
        return not why["missing"] and why
    return cluster.wait_until("every host has told its part", told)


def drill(cluster, *words):
    """The drill, run on host3, or why it was refused. The guest writes: its file may be listed for heal in the moment of a
    look, which must not refuse it."""
    return cluster.mortar("host3", "drill", *words, "--yes", check=False, timeout=DRILL_S)


def measured(report, before):
    """The line of the one machine that was restarted; all moments are there and in order. before: `vm show`."""
    (vm,) = report["vms"]
    times = [report[name] for name in ("silent_ms", "detected_ms", "fenced_ms")]
    times += [vm[name] for name in ("owner_ms", "qemu_ms", "guest_ms")]
    assert None not in times and times == sorted(times) and times[0] > 0, report
    assert report["back_ms"] > report["fenced_ms"] and vm["running_ms"] >= vm["owner_ms"], report
    assert (report["host"], vm["vm"], vm["guest_by"]) == (before["host"], before["name"], "guest")
    assert vm["to"] != before["host"] and vm["epoch"] > before["epoch"]
    return vm


def test_a_drill_is_refused_without_confirmation_and_without_a_lab_at_the_switch(cluster, guest):
    cluster.wait_whole()
    victim = guest.seen("host3")["host"]
    with pytest.raises(CommandFailed, match="--yes"):
        cluster.mortar("host3", "drill", "--host", victim)
    with pytest.raises(CommandFailed, match="run it on another host"):
        cluster.mortar("host3", "drill", "--host", "host3", "--yes")
    done = drill(cluster, "--host", victim)
    assert done.returncode != 0 and "power only a lab can cut" in done.stderr, done
    assert guest.seen("host3")["host"] == victim
    with pytest.raises(CommandFailed, match="there was no drill yet"):
        cluster.mortar("host3", "drill", "--last")


def test_a_power_drill_measures_everything_and_vm_why_tells_it_in_order(cluster, guest):
    cluster.wait_whole()
    before = guest.seen("host3")
    with PowerHook(cluster.lab) as hook:
        done = drill(cluster)
    print(done.stderr, done.stdout, sep="\n")
    assert done.returncode == 0
    assert [host for host, _ in hook.served] == [before["host"]], hook.errors
    report = cluster.show("host3", "drill", "--last")["drill"]["report"]
    vm = measured(report, before)

    told = all_told(cluster, "host1")
    lines = [item["text"] for item in told["items"]]
    old, new = before["host"], vm["to"]
    order = positions(lines, f"drill: {old} strikes itself now", f"hears nothing of {old}", f"{old} is being fenced",
                      f"has cut {old} off", f"acknowledges the fence of {old} (T2)", f"{old} is fenced (T3)",
                      f"{new} owns it now, epoch {vm['epoch']}: taken from {old}", f"{new} claims its start",
                      f"{new} has started QEMU", f"{old} is healed, and a full member again")
    assert order == sorted(order), "\n".join(lines)
    times = [item["at"] for item in told["items"]]
    assert times == sorted(times)
    print(cluster.mortar("host1", "vm", "why", "demo", "--since", "1h").stdout)


@pytest.fixture
def neighbour(cluster, guest):
    """One more guest, on the host to which the first one goes when its own is struck."""
    neighbour = put_beside(cluster, guest, "neighbour")
    for each in (guest, neighbour):  # who does not write yet cannot stall
        with Recorder(cluster.lab, each.name) as heart:
            heart.wait_for(lambda line: line[3]["flushed"] > 10)
    return neighbour


@pytest.mark.parametrize("kind", ["network", "hang"])
def test_a_drill_that_leaves_the_host_its_power_measures_everything_and_the_stall_of_who_stays(
        cluster, guest, neighbour, kind):
    """It ends by itself: nobody outside gives the host its network or its processes back."""
    cluster.wait_whole()
    before, stays = guest.seen("host3"), neighbour.seen("host3")
    done = drill(cluster, "--host", before["host"], "--kind", kind)
    print(done.stderr, done.stdout, sep="\n")
    assert done.returncode == 0
    report = cluster.show("host3", "drill", "--last")["drill"]["report"]
    vm = measured(report, before)
    assert (report["kind"], report["missing"]) == (kind, [])
    (stay,) = report["stay"]
    assert (stay["vm"], stay["host"]) == (neighbour.name, stays["host"]) and vm["to"] == stays["host"]
    # Its mirror is on the struck host: it waits until that is cut off, and not for GlusterFS to give it up.
    assert report["detected_ms"] / 2 < stay["stall_ms"] < PING_TIMEOUT_MS, report
    assert stay["stall_ms"] < vm["guest_ms"]
    after = neighbour.seen("host3")
    assert (after["host"], after["epoch"], after["state"]) == (stays["host"], stays["epoch"], "running")


def test_facts_survive_the_agent_and_a_host_that_does_not_answer_is_named(cluster, guest):
    cluster.wait_whole()
    here = all_told(cluster, "host3")
    cluster.lab.exec("host3", ["systemctl", "restart", "mortard"])
    cluster.wait_until("the agent answers", lambda: cluster.mortar("host3", "vm", "ls", check=False).returncode == 0)
    again = [item["text"] for item in all_told(cluster, "host3")["items"]]
    assert [item["text"] for item in here["items"]] == again[:len(here["items"])]
    cluster.lab.exec("host2", ["systemctl", "stop", "mortar-api"])
    try:
        cluster.wait_until("host2 alone has not told", lambda: [
            m["host"] for m in cluster.show("host3", "vm", "why", "demo")["missing"]] == ["host2"])
        assert "its part is missing" in cluster.mortar("host3", "vm", "why", "demo").stdout
    finally:
        cluster.lab.exec("host2", ["systemctl", "start", "mortar-api"])
