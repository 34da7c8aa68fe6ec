# SPDX-License-Identifier: Apache-2.0
"""Failover in a lab: hosts lose power, hang, or are cut off; the numbers are those of facts/ha.md 3.9.

The tests build on each other: one lab, in the order written. After each fault the disk of the guest is
judged: no acknowledged block may be lost, none may come twice or out of order, whichever instance wrote it.
"""

import collections
import contextlib
import os
import random
import signal
import time

import hardship
import phase_kill
import pytest
from moving import put_beside

from mortarcluster import Cluster, Guest, Recorder
from mortarcluster import guest as guest_module
from mortarcluster.faults import DATA_HOSTS, HOSTS, lead_store, other, recover
from mortarlab import LabError

IS_FULL = os.environ.get("MORTAR_FULL") == "1"
SEED = int(os.environ.get("MORTAR_SEED", "1"))
# Each takes a minute or two and the simulator plays them all in each run: two by seed, all with MORTAR_FULL=1.
DRAWN = ("leader", "all hosts", "own brick", "storage network", "declared dead", "mute libvirtd", "closed at boot",
         "mute gluster")
CHOSEN = DRAWN if IS_FULL else random.Random(SEED).sample(DRAWN, 2)
HARD_HOST = "host2"  # its root is a disk of its own, which may be filled
HARDSHIP_S = 10
SETTLE_S = 240  # a host that comes back is healed and trusted again
GO_ON_S = 10  # of issue 3: so long after the switch is back every guest has written again
STORE_DEAD_S = 30
GLUSTER_S = 9  # from a fence's begin to QEMU: no call of gluster is given up earlier


def drawn(name):
    """Decorator: only when the seed has chosen it."""
    return pytest.mark.skipif(name not in CHOSEN, reason="not in this sample; MORTAR_FULL=1 tries all")


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Three hosts, a mirrored pool with failover."""
    print(f"\nMORTAR_SEED={SEED}: {CHOSEN}")
    cluster = Cluster(make_lab(hosts=3, disk_size="4G", small_roots=[HARD_HOST], debs=debs_dir))
    cluster.form()
    cluster.create_pool()
    cluster.fenced = collections.Counter()
    return cluster


@pytest.fixture(scope="module")
def demo(cluster):
    """The demo guest; created by the first test that wants it running."""
    guest = Guest(cluster, writes_per_s=20, emit_ms=20)
    for host in DATA_HOSTS:
        guest.put_files(guest_module.build(), host)
    return guest


@pytest.fixture
def guest(cluster, demo):
    """The guest; after a test that failed half-way it runs on a whole cluster again."""
    if cluster.is_hurt:
        cluster.fenced.clear()  # to recover lets in who was held
    if demo.name in cluster.names("host3", "vm"):
        recover(cluster, demo)
    return demo


@pytest.fixture
def second(cluster, guest):
    """One more guest, on the other data host; judged and removed afterwards."""
    second = put_beside(cluster, guest, "second")
    yield second
    where = second.seen("host3")["host"]
    cluster.mortar("host3", "vm", "stop", second.name)
    verdict = second.judge(where)
    cluster.mortar("host3", "vm", "rm", second.name)
    assert verdict["ok"], verdict["violations"]


def states(cluster, through):
    """{host: state} as a host knows it."""
    return {h["name"]: h["state"] for h in cluster.show(through, "host", "ls")["items"]}


def wait_moved(cluster, guest, old, through):
    """Until the guest runs elsewhere; what `vm show` says then."""
    def seen():
        with contextlib.suppress(Exception):
            vm = guest.seen(through)
            return vm if vm["state"] == "running" and vm["host"] != old else None
    return cluster.wait_until(f"{guest.name} runs on another host than {old}", seen, 180)


def qemus(cluster, host, name):
    """Pids of QEMU processes of a VM in a host."""
    return cluster.lab.exec(host, ["pgrep", "-f", f"guest={name},"], check=False).stdout.split()


def bricks(cluster, host):
    """["PID START"] of the brick processes in a host; the two together name a process."""
    words = "for p in $(pgrep -x glusterfsd); do cut -d' ' -f1,22 /proc/$p/stat; done"
    return cluster.lab.exec(host, ["sh", "-c", words], check=False).stdout.split("\n")[:-1]


def items_told(cluster, guest):
    """What `vm why` tells; each host is asked for its part, and has 3 s for the answer."""
    def told():
        why = cluster.show("host3", "vm", "why", guest.name)
        is_whole = not any("did not answer" in part["text"] for part in why["missing"])
        return is_whole and why["items"]
    return cluster.wait_until("every host has told its part", told)


def all_told(cluster, guest):
    """Its lines."""
    return [item["text"] for item in items_told(cluster, guest)]


def ended_its_brick(cluster, guest, host, before):
    """A host that came back without a boot ended its own brick before T9, and has another one since.

    The process alone proves nothing: glusterd ends its brick, politely, when it loses its peers.
    """
    told = all_told(cluster, guest)
    end = max((n for n, text in enumerate(told) if text.startswith(f"{host} has ended its own bricks")), default=None)
    back = max(n for n, text in enumerate(told) if text.startswith(f"{host} comes back"))
    assert end is not None and end < back, told
    after = bricks(cluster, host)
    assert len(before) == len(after) == 1, (before, after)
    assert before != after
    cluster.wait_until("nothing is left to heal", lambda: cluster.is_healed("host3"))


def judge(cluster, guest, through="host3"):
    """Stop, look at every block, start again."""
    where = guest.seen(through)["host"]
    cluster.mortar(through, "vm", "stop", guest.name)
    verdict = guest.judge(where)
    assert verdict["ok"], verdict["violations"]
    cluster.mortar(through, "vm", "start", guest.name)


def let_in(cluster, host, through="host3"):
    """A host comes back by itself; after its second fence in an hour it waits for its administrator."""
    if not cluster.show(through, "host", "show", host)["held"]:
        assert cluster.fenced[host] < 2
        return
    def alarm():
        return [a["text"] for a in cluster.show(through, "status")["alarms"]
                if a["alarm"] == "host.held" and a["object"] == host]
    text, *_ = cluster.wait_until(f"{host} is held back", alarm)
    assert f"mortar host admit {host}" in text
    assert states(cluster, through)[host] == "fenced"
    cluster.mortar(through, "host", "admit", host)
    cluster.fenced[host] = 0


def fail_over(cluster, guest, hurt):
    """hurt(host) hits the guest's host while it writes; the old and the new host."""
    old = guest.seen("host3")["host"]
    with Recorder(cluster.lab, guest.name) as heart:
        first = heart.wait_for(lambda line: line[1] == old)
        before = heart.wait_for(lambda line: line[3]["flushed"] > first[3]["flushed"] + 10)
        epoch = guest.seen("host3")["epoch"]
        began = time.monotonic()
        hurt(old)
        vm = wait_moved(cluster, guest, old, "host3")
        heart.wait_for(lambda line: line[1] == vm["host"], 120)
        took_s = heart.last()[0] - began
        assert vm["epoch"] > epoch
        cluster.fenced[old] += 1
        print(f"\n{old} → {vm['host']}: heartbeat after {took_s:.1f} s, last flushed {before[3]['flushed']}")
    return old, vm["host"]


def test_failover_is_on_when_every_host_has_proved_its_part(cluster):
    assert not cluster.show("host1", "pool", "show", "vms")["ha"]["on"]
    cluster.mortar("host1", "pool", "ha", "vms")
    assert cluster.show("host1", "pool", "show", "vms")["ha"]["on"]
    cluster.wait_until("host3 has heard of it", lambda: cluster.show("host3", "pool", "show", "vms")["ha"]["on"])
    for host in HOSTS:
        table = cluster.lab.exec(host, ["nft", "list", "table", "inet", "mortar_fence"]).stdout
        assert "drop" in table, table
        cluster.lab.exec(host, ["systemctl", "is-active", "mortar-guard"])
    cluster.mortar("host1", "pool", "ha", "vms")  # again: nothing to do, no error


def test_guests_are_born_where_the_guard_can_freeze_them(cluster, guest):
    guest.create()
    where = guest.seen()["host"]
    (pid,) = qemus(cluster, where, guest.name)
    cgroup = cluster.lab.exec(where, ["cat", f"/proc/{pid}/cgroup"]).stdout
    assert "mortar-vms-ha.slice" in cgroup, cgroup
    cluster.wait_heard("host3", guest.name)


def test_case_1_power_cut(cluster, guest):
    old, _ = fail_over(cluster, guest, cluster.lab.cut)
    assert states(cluster, "host3")[old] in ("fencing", "fenced")
    cluster.lab.boot(old)
    let_in(cluster, old)
    cluster.wait_whole()
    judge(cluster, guest)


@drawn("leader")
def test_case_1_when_the_dead_host_led_the_store_too(cluster, guest):
    def cut_leader(host):
        lead_store(cluster, host)
        cluster.lab.cut(host)
    old, _ = fail_over(cluster, guest, cut_leader)
    cluster.lab.boot(old)
    let_in(cluster, old)
    cluster.wait_whole()
    judge(cluster, guest)


# Whoever calls it waits for an hour, or until it is killed for that, and is written down.
MUTE_GLUSTER = """printf '#!/bin/sh\necho "$*" >> /run/lab-gluster-calls\nexec sleep 3600\n' > /run/lab-gluster
chmod +x /run/lab-gluster
mount --bind /run/lab-gluster /usr/sbin/gluster"""
GLUSTER_SPEAKS = """umount -l /usr/sbin/gluster
rm -f /run/lab-gluster /run/lab-gluster-calls"""


@drawn("mute gluster")
def test_case_1_when_no_call_of_gluster_ends_on_the_survivors(cluster, guest):
    """Nothing in a fence calls it; the agents' looks at the pool do, and hang before the power goes."""
    survivors = [host for host in HOSTS if host != guest.seen("host3")["host"]]

    def calls(host):
        return cluster.lab.exec(host, ["cat", "/run/lab-gluster-calls"], check=False).stdout.splitlines()

    def cut_when_mute(host):
        for survivor in survivors:
            cluster.lab.exec(survivor, ["sh", "-c", MUTE_GLUSTER])
        for survivor in survivors:
            cluster.wait_until(f"the agent on {survivor} waits for gluster", lambda survivor=survivor: calls(survivor))
        cluster.lab.cut(host)
    try:
        old, new = fail_over(cluster, guest, cut_when_mute)
        print({host: calls(host) for host in survivors})
    finally:
        for survivor in survivors:
            cluster.lab.exec(survivor, ["sh", "-c", GLUSTER_SPEAKS], check=False)
    cluster.lab.boot(old)
    let_in(cluster, old)
    cluster.wait_whole()
    told = [(item["at"], item["text"]) for item in items_told(cluster, guest)]
    begin = max(at for at, text in told if f"{old} is being fenced" in text)
    qemu = min(at for at, text in told if f"{new} has started QEMU" in text and at > begin)
    print(f"QEMU runs {(qemu - begin) / 1000:.1f} s after the fence began")
    assert qemu - begin < GLUSTER_S * 1000, told
    judge(cluster, guest)


def boot_all(cluster, order, pauses_s):
    """Power for all, one after the other with pauses: none is ready before a second one is there."""
    print(f"\nMORTAR_SEED={SEED}: boots {list(zip(order, pauses_s))}")
    for host, pause_s in zip(order, pauses_s):
        cluster.lab.boot(host, deadline_s=0)
        time.sleep(pause_s)  # the schedule itself, not a wait for something


@drawn("all hosts")
def test_case_32_all_hosts_cut_and_booted_in_any_order(cluster, guest):
    """Nobody is there to fence anybody; who boots first must not start on a disk that lacks writes (A2)."""
    before, lives = guest.seen("host3"), cluster.incarnations()
    with Recorder(cluster.lab, guest.name) as heart:
        first = heart.wait_for(lambda line: line[1] == before["host"])
        heart.wait_for(lambda line: line[3]["flushed"] > first[3]["flushed"] + 20)
        chance = random.Random(SEED)
        order = chance.sample(HOSTS, len(HOSTS))
        for host in chance.sample(HOSTS, len(HOSTS)):
            cluster.lab.cut(host)
        flushed = heart.last()[3]["flushed"]
        start = heart.mark()
        boot_all(cluster, order, [chance.uniform(0, 8) for _ in order])
        def all_known():
            """Until each agent has told of its boot, the store says what was true before the cut."""
            cluster.admit_held()
            with contextlib.suppress(Exception):
                return all(inc > lives[host][1] for host, (_, inc) in cluster.incarnations().items())
        cluster.wait_until("every boot is told of", all_known, SETTLE_S)
        cluster.wait_whole()
        cluster.fenced.clear()  # who boots late may be fenced, and be let in
        heart.wait_for(lambda line: heart.mark() > start and line[3]["flushed"] > 10, SETTLE_S)
    cluster.wait_until("host3 has heard of the start", lambda: guest.seen("host3")["epoch"] > before["epoch"])
    where = guest.seen("host3")["host"]
    cluster.mortar("host3", "vm", "stop", guest.name)
    verdict = guest.judge(where, flushed)
    assert verdict["ok"], verdict["violations"]
    cluster.mortar("host3", "vm", "start", guest.name)


# Neither its agent nor its guard, which would cut it off too, starts at the next boot, and glusterd's unit writes down
# what it finds right before it starts.
TABLE_AT_GLUSTERD = "/run/lab-table-at-glusterd"
NO_AGENT = f"""systemctl mask -q mortard mortar-guard
printf '[Service]\nExecStartPre=-/bin/sh -c "nft list table inet mortar_fence > {TABLE_AT_GLUSTERD} 2>&1"\n' \\
    > /etc/systemd/system/glusterd.service.d/lab.conf"""
AGENT_AGAIN = """rm -f /etc/systemd/system/glusterd.service.d/lab.conf
systemctl unmask -q mortard mortar-guard
systemctl start --no-block mortar-guard mortard"""
GLUSTERD_PORT, NEW_BRICK_PORT = 24007, 49999  # nobody listens at the latter; a brick might
BRICK_PORTS = """ss -Hltnp | awk '/"glusterfsd"/ { sub(/.*:/, "", $4); print $4 }'"""


def answered(cluster, host):
    """(from, to, port) of connections between this host and the others, to glusterd and to bricks, and of those the
    ones that come about or are refused, which is an answer, too."""
    ports = {at: [GLUSTERD_PORT, NEW_BRICK_PORT, *map(int, cluster.lab.exec(
        at, ["sh", "-c", BRICK_PORTS]).stdout.split())] for at in HOSTS}
    ways = [(*ends, port) for at in HOSTS if at != host for ends in ((at, host), (host, at)) for port in ports[ends[1]]]
    def is_answered(source, to, port):
        where = f"TCP:{cluster.lab.host(to).address('stor')}:{port},connect-timeout=2"
        done = cluster.lab.exec(source, ["socat", "-u", "/dev/null", where], check=False)
        return done.returncode == 0 or "refused" in done.stderr
    return ways, [way for way in ways if is_answered(*way)]


@contextlib.contextmanager
def without_filter(cluster, host):
    """Whoever is closed there is let in, until its agent is back: what is closed now, the others have closed."""
    cluster.lab.exec(host, ["sh", "-c", "systemctl stop mortard && nft delete table inet mortar_fence"])
    try:
        yield
    finally:
        cluster.lab.exec(host, ["systemctl", "start", "mortard"])
    cluster.wait_until(f"{host} has its filter again", lambda: cluster.has_store(host) and cluster.lab.exec(
        host, ["nft", "list", "table", "inet", "mortar_fence"], check=False).returncode == 0)


def unit_time(cluster, host, unit, which):
    """A moment that systemd keeps, in microseconds."""
    return int(cluster.lab.exec(host, ["systemctl", "show", "-P", which + "TimestampMonotonic", unit]).stdout)


@drawn("closed at boot")
def test_case_29_a_host_boots_closed_before_its_glusterd_starts_until_its_agent_opens_it(cluster, guest):
    before = guest.seen("host3")
    closed = other(before["host"])
    cluster.lab.exec(closed, ["sh", "-c", NO_AGENT])
    cluster.lab.cut(closed)
    try:
        cluster.wait_until(f"{closed} is fenced", lambda: states(cluster, "host3")[closed] == "fenced", SETTLE_S)
        cluster.fenced[closed] += 1
        cluster.lab.boot(closed, deadline_s=0)
        cluster.wait_until("its glusterd runs", lambda: cluster.lab.host(closed).is_reachable() and cluster.lab.exec(
            closed, ["systemctl", "is-active", "glusterd"], check=False).returncode == 0, SETTLE_S)
        assert unit_time(cluster, closed, "mortar-fence", "ActiveEnter") <= unit_time(cluster, closed, "glusterd",
                                                                                    "InactiveExit")
        for table in (cluster.lab.exec(closed, ["cat", TABLE_AT_GLUSTERD]).stdout,
                      cluster.lab.exec(closed, ["nft", "list", "table", "inet", "mortar_fence"]).stdout):
            assert "drop" in table and "elements" not in table.split("set open4", 1)[1].split("}")[0], table
        with without_filter(cluster, "host3"):
            ways, through = answered(cluster, closed)
        print(f"\n{closed} is closed: {ways}")
        assert not through, through
        assert cluster.lab.exec(closed, ["systemctl", "is-active", "mortard"], check=False).returncode != 0
    finally:
        with contextlib.suppress(LabError):
            cluster.lab.exec(closed, ["sh", "-c", AGENT_AGAIN])
    let_in(cluster, closed)
    cluster.wait_whole()
    ways, through = answered(cluster, closed)
    assert through == ways, "the agent has opened it"
    assert (guest.seen("host3")["host"], guest.seen("host3")["epoch"]) == (before["host"], before["epoch"])
    judge(cluster, guest)


def cuts(cluster, host):
    """How often host's agent has cut somebody off, and whether it has found its filter changed by another hand."""
    said = cluster.lab.exec(host, ["journalctl", "-u", "mortard", "--no-pager"]).stdout
    return said.count("a host is cut off"), "the fence's table was not as it was left" in said


def flush_filter(cluster, host):
    """What `systemctl restart nftables` does, too: it lets a fenced host in, until it is cut off once more."""
    before, _ = cuts(cluster, host)
    cluster.lab.exec(host, ["nft", "flush", "ruleset"])
    cluster.wait_until(f"{host} cuts it off again", lambda: cuts(cluster, host) == (before + 1, True), 30)


def test_case_9_cut_off_host_freezes_its_guests_and_loses_them(cluster, guest):
    before = []
    def cut_off(host):
        before.extend(bricks(cluster, host))
        cluster.lab.partition(host, None, "storage")
        cluster.lab.partition(host, None, "mgmt")
    old, new = fail_over(cluster, guest, cut_off)
    assert cluster.is_frozen(old), "nobody told it, and still it stands"
    assert qemus(cluster, old, guest.name), "frozen, not killed"
    flush_filter(cluster, new)
    cluster.lab.heal()
    cluster.wait_until("the old instance is gone", lambda: not qemus(cluster, old, guest.name))
    let_in(cluster, old)
    cluster.wait_whole()
    ended_its_brick(cluster, guest, old, before)
    assert guest.seen("host3")["host"] == new
    judge(cluster, guest)


def test_case_2_hung_host_that_revives_writes_nothing(cluster, guest):
    before = []
    def hang(host):
        before.extend(bricks(cluster, host))
        cluster.lab.hang(host, cut_links=True)
    old, new = fail_over(cluster, guest, hang)
    cluster.lab.resume(old)
    cluster.wait_until("the old instance is gone", lambda: not qemus(cluster, old, guest.name))
    let_in(cluster, old)
    cluster.wait_whole()
    ended_its_brick(cluster, guest, old, before)
    assert guest.seen("host3")["host"] == new
    judge(cluster, guest)


def test_case_6_a_libvirtd_that_hangs_harms_no_guest_and_is_started_anew(cluster, guest):
    if not IS_FULL:
        pytest.skip("takes two minutes; MORTAR_FULL=1 tries it")
    before = guest.seen("host3")
    host = before["host"]
    cluster.lab.exec(host, ["virsh", "-q", "list"])  # its socket starts it
    mute = phase_kill.pids(cluster.lab, host, "libvirtd")[0]

    def alarms():
        return [a["object"] for a in cluster.show("host3", "status")["alarms"] if a["alarm"] == "host.libvirt"]
    with Recorder(cluster.lab, guest.name) as heart:
        heart.wait_for(lambda line: True)
        os.kill(mute, signal.SIGSTOP)
        # The alarm may stand for a second only (tests/unit/test_mute_libvirtd.c has it); the journal keeps why.
        cluster.wait_until("libvirtd is another one", lambda: mute not in phase_kill.pids(cluster.lab, host, "libvirtd"), 180)
        cluster.wait_until("the journal says why", lambda: "libvirtd does not answer" in cluster.lab.exec(
            host, ["journalctl", "-u", "mortard", "--no-pager"]).stdout)
        cluster.wait_until("it answers again", lambda: not alarms(), 120)
        last = heart.last()
        heart.wait_for(lambda line: line[3]["flushed"] > last[3]["flushed"] + 10)
    after = guest.seen("host3")
    assert (after["host"], after["epoch"], after["state"]) == (host, before["epoch"], "running")
    judge(cluster, guest)


@drawn("storage network")
def test_case_7_a_host_without_its_storage_network_gives_its_guests_away(cluster, guest):
    """It is heard on the other network, so nobody calls it silent; it says itself that it does not reach the disks."""
    try:
        old, new = fail_over(cluster, guest, lambda host: cluster.lab.partition(host, None, "storage"))
    except TimeoutError:
        cluster.lab.heal()  # the tests after this one stand on their own
        raise
    why = "\n".join(all_told(cluster, guest))
    assert f"has not reached the disks in pool 'vms' for 20 s, and {new} does" in why, why
    cluster.wait_until("the old instance is gone", lambda: not qemus(cluster, old, guest.name))
    cluster.lab.heal()
    let_in(cluster, old)
    cluster.wait_whole()
    assert guest.seen("host3")["host"] == new
    judge(cluster, guest)


def test_case_27_a_disk_in_use_is_refused_to_who_starts_it_by_hand(cluster, guest):
    vm = guest.seen("host3")
    disk = vm["disks"][0]["path"]
    by_hand = ["qemu-system-x86_64", "-S", "-display", "none", "-drive", f"file={disk},format=qcow2,if=virtio"]
    done = cluster.lab.exec(other(vm["host"]), ["timeout", "50", *by_hand], check=False)
    assert done.returncode == 1 and 'Failed to get "write" lock' in done.stderr, done
    assert guest.seen("host3")["epoch"] == vm["epoch"]


@drawn("declared dead")
def test_case_28_a_host_that_a_user_declares_dead_is_fenced_while_its_guest_writes(cluster, guest):
    old, new = fail_over(cluster, guest, lambda host: cluster.mortar("host3", "host", "fence", host, "--yes"))
    cluster.fenced[old] -= 1  # what a user asked for is not counted
    cluster.wait_whole()  # it comes back by itself
    assert guest.seen("host3")["host"] == new
    judge(cluster, guest)


@drawn("mute libvirtd")
def test_case_6_a_fenced_host_ends_its_guests_without_libvirtd(cluster, guest):
    """It stands still, and is not started anew before it was mute for a minute: the agent kills QEMU itself."""
    mute = []

    def fence(host):
        cluster.lab.exec(host, ["virsh", "-q", "list"])  # its socket starts it
        mute.extend(phase_kill.pids(cluster.lab, host, "libvirtd")[:1])
        os.kill(mute[0], signal.SIGSTOP)
        cluster.mortar("host3", "host", "fence", host, "--yes")
    old, new = fail_over(cluster, guest, fence)
    cluster.fenced[old] -= 1  # what a user asked for is not counted
    cluster.wait_until("QEMU is gone", lambda: not qemus(cluster, old, guest.name), 60)
    assert mute[0] in phase_kill.pids(cluster.lab, old, "libvirtd")
    os.kill(mute[0], signal.SIGCONT)
    cluster.wait_whole()  # it comes back by itself
    assert guest.seen("host3")["host"] == new
    judge(cluster, guest)


@drawn("own brick")
def test_case_9_a_host_whose_own_brick_cannot_end_stays_fenced_and_says_why(cluster, guest):
    """Its file system is frozen: the brick's threads hang within writes, and SIGKILL waits for them."""
    before, frozen = [], []
    def threads():
        words = "for p in $(pgrep -x glusterfsd); do cat /proc/$p/task/*/stat; done"
        return cluster.lab.exec(frozen[0], ["sh", "-c", words], check=False).stdout
    def hang_disk_and_cut_off(host):
        (path,) = [b["path"] for b in cluster.show("host3", "pool", "show", "vms")["bricks"] if b["host"] == host]
        before.extend(bricks(cluster, host))
        frozen.extend((host, cluster.lab.exec(host, ["findmnt", "-n", "-o", "TARGET", "-T", path]).stdout.strip()))
        cluster.lab.exec(host, ["fsfreeze", "-f", frozen[1]])
        cluster.wait_until("a thread of the brick hangs", lambda: ") D " in threads())
        cluster.lab.partition(host, None, "storage")
        cluster.lab.partition(host, None, "mgmt")
    def waits():
        return [a["text"] for a in cluster.show("host3", "status")["alarms"]
                if a["alarm"] == "host.waits" and a["object"] == frozen[0]]
    try:
        old, new = fail_over(cluster, guest, hang_disk_and_cut_off)
        cluster.lab.heal()
        let_in(cluster, old)
        text, *_ = cluster.wait_until("it says what it waits for", waits)
        assert "brick" in text and "reboot it" in text
        assert states(cluster, "host3")[old] == "fenced"
        assert "brick" in cluster.show("host3", "host", "show", old)["waits"]
        assert not qemus(cluster, old, guest.name), "it ended with its mount"
    finally:
        if frozen:
            cluster.lab.exec(frozen[0], ["fsfreeze", "-u", frozen[1]])
    cluster.wait_whole()
    assert not waits()
    ended_its_brick(cluster, guest, old, before)
    assert guest.seen("host3")["host"] == new
    judge(cluster, guest)


@pytest.mark.parametrize("outage_s", [20, pytest.param(150, marks=pytest.mark.skipif(
    not IS_FULL, reason="takes minutes; MORTAR_FULL=1 tries it"))])
def test_case_10_when_the_switch_is_down_all_stand_still_and_write_again_within_10_s_of_its_return(
        cluster, guest, second, outage_s):
    names = (guest.name, second.name)
    before = {name: cluster.vm(name, "host3") for name in names}
    with contextlib.ExitStack() as stack:
        hearts = {name: stack.enter_context(Recorder(cluster.lab, name)) for name in names}
        for heart in hearts.values():
            heart.wait_for(lambda line: line[3]["flushed"] > 10)
        try:
            cluster.lab.silence()  # of all at once: who is cut off first would be fenced by the others
            for vm in before.values():
                cluster.wait_until(f"{vm['name']} is frozen", lambda vm=vm: cluster.is_frozen(vm["host"]))
            frozen_at = time.monotonic()
            time.sleep(outage_s)  # the outage itself
            assert all(cluster.is_frozen(vm["host"]) for vm in before.values())
            still = {name: heart.last() for name, heart in hearts.items()}
            assert all(line[0] < frozen_at + 1 for line in still.values()), "a guest ran"
        finally:
            cluster.lab.heal()
        back_at = time.monotonic()
        for name, heart in hearts.items():
            heart.wait_for(lambda line, name=name: line[3]["flushed"] > still[name][3]["issued"])
            again = next(line for line in heart.lines if line[3]["flushed"] > still[name][3]["issued"])
            print(f"\n{name}: writes {again[0] - back_at:.1f} s after the switch is back")
            assert again[0] < back_at + GO_ON_S
    for _ in range(2):  # now, and when host3 has surely heard of all
        after = {name: cluster.vm(name, "host3") for name in names}
        assert all((after[name]["host"], after[name]["epoch"]) == (before[name]["host"], before[name]["epoch"])
                   for name in names), "nobody was restarted"
        cluster.wait_whole()


def test_case_13_when_all_of_etcd_is_killed_and_stays_dead_guests_run_on(cluster, guest):
    before = guest.seen("host3")
    guard = hardship.Guard(cluster.lab, before["host"])
    freezes = guard.status()["freezes"]
    with Recorder(cluster.lab, guest.name) as heart:
        heart.wait_for(lambda line: line[3]["flushed"] > 10)
        phase_kill.kill_store(cluster.lab)
        try:
            dead = heart.last()
            time.sleep(STORE_DEAD_S)  # the outage itself
            assert not any(phase_kill.pids_named(cluster.lab, host, "etcd") for host in HOSTS)
            last = heart.last()
            assert last[3]["flushed"] > dead[3]["flushed"] + 10 * STORE_DEAD_S, "of 20 writes a second"
            heart.wait_for(lambda line: line[3]["flushed"] > last[3]["flushed"] + 10, GO_ON_S)
            assert guard.status()["freezes"] == freezes
        finally:
            for host in HOSTS:
                cluster.lab.exec(host, ["systemctl", "start", "--no-block", "etcd"])
    cluster.wait_whole()
    after = guest.seen("host3")
    assert (after["host"], after["epoch"]) == (before["host"], before["epoch"])


def own_journal(cluster, host, unit="mortar-guard"):
    """What a unit has said since the host's boot."""
    return cluster.lab.exec(host, ["journalctl", "-b", "-o", "cat", "--no-pager", "-u", unit]).stdout


def test_a_guard_without_a_watchdog_says_so_loudly_and_has_its_rights(cluster, guest):
    guard = hardship.Guard(cluster.lab, HARD_HOST)
    seen, process, said = guard.status(), guard.process(), own_journal(cluster, HARD_HOST)
    assert seen["watchdog"]["kind"] == "none" and "NO WATCHDOG" in said
    wanted = cluster.lab.exec(HARD_HOST, ["systemctl", "show", "-P", "OOMScoreAdjust", "mortar-guard"]).stdout.strip()
    assert wanted == "-1000"
    # A lab on a machine that may not shield a process (no CAP_SYS_RESOURCE) is told so.
    assert process["killable"] == -1000 or "unkillable=EACCES" in said, (process, said)
    assert "locked=yes fifo=yes" in said and process["locked"] > process["resident"] * 0.9, process


# What a host that is no container would do: the unit as it is, but for that condition and the program that it calls.
AS_METAL = """printf '#!/bin/sh\necho "called: $*"\n' > /run/lab-modprobe
chmod +x /run/lab-modprobe
sed '/^ConditionVirtualization=/d; /^Type=/i BindPaths=/run/lab-modprobe:/sbin/modprobe' \\
    /lib/systemd/system/mortar-softdog.service > /run/systemd/system/mortar-softdog.service
systemctl daemon-reload"""
AS_BEFORE = """rm -f /run/systemd/system/mortar-softdog.service /run/lab-modprobe /dev/watchdog
systemctl daemon-reload
systemctl stop mortar-softdog"""


def test_softdog_is_loaded_where_there_is_no_watchdog_and_never_in_a_container(cluster, guest):
    def start():
        cluster.lab.exec(HARD_HOST, ["systemctl", "restart", "mortar-softdog"])
        done = cluster.lab.exec(HARD_HOST, ["systemctl", "show", "-P", "ConditionResult", "mortar-softdog"])
        return done.stdout.strip(), own_journal(cluster, HARD_HOST, "mortar-softdog").count("called: softdog nowayout=0")
    assert start() == ("no", 0)
    cluster.lab.exec(HARD_HOST, ["sh", "-c", AS_METAL])
    try:
        assert start() == ("yes", 1)
        cluster.lab.exec(HARD_HOST, ["touch", "/dev/watchdog"])
        assert start() == ("no", 1)
    finally:
        cluster.lab.exec(HARD_HOST, ["sh", "-c", AS_BEFORE])


def test_a_package_is_not_removed_beside_machines_that_its_watchdog_would_reset(cluster, guest):
    where = guest.seen("host3")["host"]
    script = "touch /dev/watchdog; /var/lib/dpkg/info/mortar.prerm remove; code=$?; rm -f /dev/watchdog; exit $code"
    done = cluster.lab.exec(where, ["sh", "-c", script], check=False)
    assert done.returncode == 1 and "the watchdog resets" in done.stderr, done
    cluster.lab.exec(where, ["systemctl", "is-active", "mortar-guard"])


@pytest.mark.parametrize("name", hardship.ALL)
def test_neither_guard_nor_guest_is_harmed_by(cluster, guest, name):
    """On their own host; and nobody calls that host dead."""
    guard = hardship.Guard(cluster.lab, HARD_HOST)
    if guest.seen("host3")["host"] != HARD_HOST:
        guest.migrate(HARD_HOST, "host3")
        cluster.wait_heard("host3", guest.name)
    cluster.wait_until("it has the right to run", lambda: guard.status()["run_right"])
    vm, lives, process, seen = guest.seen("host3"), cluster.incarnations(), guard.process(), guard.status()
    with Recorder(cluster.lab, guest.name) as heart:
        heart.wait_for(lambda line: line[1] == HARD_HOST and line[3]["flushed"] > 10)
        with hardship.ALL[name](cluster.lab, HARD_HOST) as bites:
            cluster.wait_until(f"{name} bites", bites)
            hard = heart.last()
            time.sleep(HARDSHIP_S)  # the hardship itself
            assert bites()
            heart.wait_for(lambda line: line[3]["flushed"] > hard[3]["flushed"] + 10)
            after, said = guard.process(), guard.status()
            assert (after["pid"], after["started"]) == (process["pid"], process["started"])
            assert after["faults"] == process["faults"], "it waited for a page on a disk"
            assert (said["run_right"], said["frozen"], said["freezes"]) == (True, False, seen["freezes"]), said
            assert said["watchdog"] == seen["watchdog"], "a watchdog would have reset the host"
            cluster.lab.exec(HARD_HOST, ["systemctl", "restart", "mortar-guard"])
            cluster.wait_until("another guard has the right to run", lambda: guard.status()["run_right"])
            assert guard.process()["started"] != process["started"] and guard.status()["refused"] == ""
            last = heart.last()
            heart.wait_for(lambda line: line[3]["flushed"] > last[3]["flushed"] + 10)
        print(f"\n{name}: flushed {hard[3]['flushed']} … {heart.last()[3]['flushed']}")
    cluster.wait_whole()
    assert cluster.incarnations() == lives, "nobody was fenced"
    now = guest.seen("host3")
    assert (now["host"], now["epoch"], now["state"]) == (HARD_HOST, vm["epoch"], "running")


def test_failover_can_be_switched_off(cluster, guest):
    cluster.wait_until("host1 reaches the store", lambda: cluster.has_store("host1"))
    cluster.mortar("host1", "vm", "stop", guest.name)
    cluster.mortar("host1", "pool", "ha", "vms", "--off")
    for host in HOSTS:
        cluster.wait_until(f"no guard on {host}", lambda host=host: cluster.lab.exec(
            host, ["systemctl", "is-active", "mortar-guard"], check=False).returncode != 0)
        cluster.wait_until(f"no filter on {host}", lambda host=host: cluster.lab.exec(
            host, ["nft", "list", "table", "inet", "mortar_fence"], check=False).returncode != 0)
