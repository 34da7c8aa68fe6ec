# SPDX-License-Identifier: Apache-2.0
"""Faults in a lab: daemons killed in the middle of things, no space, no quorum, no store.

What is killed when is drawn from MORTAR_SEED, which each run prints; MORTAR_FULL=1 tries every
daemon at every phase. The tests build on each other, as a bad day does: one lab, in the order
written.
"""

import contextlib
import functools
import os
import random
import re
import signal
import time

import phase_kill
import pytest
from phase_kill import AtPhase

from mortarcluster import Cluster, Guest, Recorder
from mortarcluster import guest as guest_module

IS_FULL = os.environ.get("MORTAR_FULL") == "1"
SEED = int(os.environ.get("MORTAR_SEED", "1"))
SAMPLE = 8
CHANCE = random.Random(SEED)
CASES = (phase_kill.all_cases(CHANCE) if IS_FULL else phase_kill.sample_cases(CHANCE, SAMPLE))
REFUSED, AGAIN, UNKNOWN = 4, 5, 6  # exit codes: mortar(1)
SETTLE_S = 180  # until a fault has to be healed, by itself or by the same command again
DATA_HOSTS = ("host1", "host2")
DEVICE = ["--device", "/dev/mortar-data"]
EMPTY_DISK = """disk=$(readlink -f /dev/mortar-data)
findmnt -nro TARGET -S "$disk" | xargs -r umount && wipefs -qa "$disk" """
# Of the ends of a migration: those that the sample above seldom meets.
MOVES_SAMPLED = [("agent", "source", "copy"), ("libvirtd", "source", "copy"),
                 ("libvirtd", "target", "copy")]
CUTS_SAMPLED = ["copy", CHANCE.choice(["check", "claim", "handover"])]


def cases_of(kind):
    """Decorator: the test runs once per case of a kind."""
    return pytest.mark.parametrize("case", [c for c in CASES if c.kind == kind], ids=str)


@pytest.fixture(scope="module")
def hosts(make_lab, debs_dir):
    """hosts(n, way): a Cluster of n hosts. Bare ones for "init", one more cluster for each "join",
    one with a formed cluster, kept from then on, for "formed"."""
    lab = make_lab()
    cluster = Cluster(lab)
    kept = []
    print(f"\nMORTAR_SEED={SEED}")

    def make(count, way):
        if way not in kept:
            lab.down()
            lab.up(hosts=count, disk_size="4G", debs=debs_dir)
            kept.clear()
        if way == "formed" and not kept:
            cluster.form()
            kept.append(way)
        return cluster

    return make


@pytest.fixture
def formed(hosts):
    """Three hosts as a cluster."""
    return hosts(3, "formed")


@pytest.fixture
def pool(formed):
    """The cluster with a mirrored pool, as each host sees it: a machine finds no room where nobody has looked yet."""
    formed.create_pool()
    for host in (*DATA_HOSTS, "host3"):
        formed.wait_whole(host)
    return formed


@pytest.fixture
def guest(pool):
    """The demo guest, running."""
    guest = Guest(pool, writes_per_s=20, emit_ms=20)
    if guest.name not in pool.names("host1", "vm"):
        put_guest(pool)
        guest.create()
    elif guest.seen()["state"] != "running":
        pool.mortar("host1", "vm", "start", guest.name)
    pool.wait_heard("host3", guest.name)
    for host in (*DATA_HOSTS, "host3"):  # each has its own view of who answers, and is asked to move something in a moment
        pool.wait_whole(host)
    return guest


@functools.cache
def guest_files():
    """The guest, built once."""
    return guest_module.build()


def put_guest(cluster):
    """The guest's files, where the agents of both VM hosts read them."""
    for host in DATA_HOSTS:
        Guest(cluster).put_files(guest_files(), host)


def begin(cluster, trap, host, *words):
    """The command; again when it was refused before it began, and may be. How it ended."""
    said = []

    def is_met():
        said.append(cluster.mortar(host, *words, check=False))
        time.sleep(0.5)  # the trap looks 300 times a second
        return trap.met or said[-1].returncode != AGAIN
    cluster.wait_until(f"'mortar {' '.join(words)}' begins", is_met)
    return said[-1]


def run_and_kill(cluster, case, runner, *words, at=None):
    """The command on host `at`, the kill when its task meets the case's phase; how it ended."""
    at = at or "host1"
    with AtPhase(cluster.lab, runner, case.kind, case.phase,
                 lambda: phase_kill.kill(cluster.lab, case.host, case.daemon)) as trap:
        done = begin(cluster, trap, at, *words)
    assert trap.met, f"the task never met {case.phase}: {done.stdout}{done.stderr}"
    print(f"\n{case}: met in {trap.met}, exit {done.returncode} {done.stderr.strip()[-300:]}")
    return done


def finish(cluster, host, words, is_done):
    """Run the same command until it has its effect: at most until SETTLE_S."""
    def again():
        if is_done():
            return True
        done = cluster.mortar(host, *words, check=False)
        if done.returncode:
            print(f"again: exit {done.returncode} {done.stderr.strip()[-300:]}")
        return is_done()
    cluster.wait_until(f"'mortar {' '.join(words)}' has had its effect", again, SETTLE_S)


def wait_idle(cluster, host="host1"):
    """Until the agent answers and no task runs any more. One that has not read the store yet knows of none."""
    def is_idle():
        with contextlib.suppress(Exception):
            cluster.show(host, "host", "ls")
            return not [t for t in cluster.show(host, "task", "ls")["items"]
                        if t["state"] == "running"]
    cluster.wait_until("all tasks have ended", is_idle, SETTLE_S)


def states(cluster, name):
    """What libvirt says of a VM on each host where it has it: {host: state}."""
    found = {}
    for host in DATA_HOSTS:
        done = cluster.lab.exec(host, ["virsh", "-q", "domstate", name], check=False)
        if done.returncode == 0:
            found[host] = done.stdout.strip()
    return found


def wait_one_runs(cluster, name):
    """Until the VM runs once, where `vm show` says, and libvirt knows no second instance."""
    def is_one():
        with contextlib.suppress(Exception):
            seen = cluster.vm(name)
            return seen["state"] == "running" and states(cluster, name) == {seen["host"]: "running"}
    cluster.wait_until(f"{name} runs exactly once", is_one, SETTLE_S)


def wait_heartbeat(heart):
    """Until the guest has written and flushed more."""
    first = heart.wait_for(lambda line: True)
    heart.wait_for(lambda line: line[3]["flushed"] > first[3]["flushed"] + 10)


# -- daemons killed at each phase


@cases_of("init")
def test_init_survives(hosts, case):
    cluster = hosts(1, "init")
    words = ["init", "demo-cluster", *cluster.addresses("host1"), "--allow-emulation"]

    def is_online():  # a member is it as soon as the store is there, which is half-way
        with contextlib.suppress(Exception):
            return [h["state"] for h in cluster.show("host1", "host", "ls")["items"]] == ["online"]

    def is_whole():
        etcd = cluster.show("host1", "status")["cluster"]["etcd"]  # looked at every so often
        return (etcd["members"], etcd["healthy"]) == (1, 1)
    run_and_kill(cluster, case, "host1", *words)
    finish(cluster, "host1", words, is_online)
    wait_idle(cluster)
    cluster.wait_until("the agent answers, and the store has its one member, healthy",
                       lambda: cluster.is_member("host1") and is_whole())


@cases_of("join")
def test_join_survives(hosts, case):
    cluster = hosts(2, "join")
    cluster.init()
    token = cluster.show("host1", "token", "create")["token"]
    words = ["join", cluster.lab.host("host1").address(), "--token", token,
             *cluster.addresses("host2")]
    def is_online():
        with contextlib.suppress(Exception):
            items = cluster.show("host2", "host", "ls")["items"]
            return [h["state"] for h in items] == ["online"] * 2
    run_and_kill(cluster, case, "host2", *words, at="host2")
    finish(cluster, "host2", words, is_online)
    wait_idle(cluster, "host2")
    cluster.wait_until("both are storage peers", lambda: "(Connected)" in cluster.lab.exec(
        "host1", ["gluster", "peer", "status"], check=False).stdout, SETTLE_S)


@cases_of("pool.create")
def test_pool_create_survives(formed, case):
    remove_everything(formed)
    words = ["pool", "create", "vms", *DEVICE]
    def is_ready():
        with contextlib.suppress(Exception):
            pool = formed.show("host1", "pool", "show", "vms")
            return pool["state"] == "ready" and pool["quorum"]
    run_and_kill(formed, case, "host1", *words)
    finish(formed, "host1", words, is_ready)
    wait_idle(formed)
    pool = formed.show("host1", "pool", "show", "vms")
    assert pool["options_drift"] == [] and [b["role"] for b in pool["bricks"]] == [
        "data", "data", "arbiter"]
    formed.wait_until("host2's glusterd knows it", lambda: formed.lab.exec(
        "host2", ["gluster", "volume", "list"], check=False).stdout.split() == ["vms"])
    formed.wait_until("it is mounted on both", lambda: all(
        formed.lab.exec(host, ["test", "-d", "/mnt/vms/vms"], check=False).returncode == 0
        for host in DATA_HOSTS))


def remove_everything(cluster):
    """Back to three hosts with empty disks."""
    for kind, words in (("vm", ["vm", "rm"]), ("image", ["image", "rm"]), ("pool", ["pool", "rm"])):
        for name in cluster.names("host1", kind):
            if kind == "vm":
                cluster.mortar("host1", "vm", "stop", name, "--force")
            cluster.mortar("host1", *words, name)
    for host in DATA_HOSTS:
        cluster.lab.exec(host, ["sh", "-c", EMPTY_DISK])


@cases_of("vm.create")
def test_vm_create_survives(pool, case):
    guest = Guest(pool, "killed", writes_per_s=20, emit_ms=20)
    put_guest(pool)
    if guest_module.IMAGE not in pool.names("host1", "image"):
        pool.mortar("host1", "image", "import", f"{guest_module.IN_HOST}/demo.qcow2", "--name",
                    guest_module.IMAGE, "--pool", "vms")
    words = ["vm", "create", guest.name, "--image", guest_module.IMAGE, "--pool", "vms", "--memory",
             guest_module.MEMORY, "--kernel", f"{guest_module.IN_HOST}/vmlinuz", "--initrd",
             f"{guest_module.IN_HOST}/initrd", "--cmdline", guest.cmdline, "--demo-channel", "--host", case.host]
    run_and_kill(pool, case, "host1", *words)
    wait_idle(pool)
    if guest.name not in pool.names("host1", "vm"):
        left = pool.lab.exec("host1", ["ls", "/mnt/vms/vms"]).stdout.split()
        assert guest.name not in left, "undone, but not cleanly"
        finish(pool, "host1", words, lambda: guest.name in pool.names("host1", "vm"))
        wait_idle(pool)
    elif guest.seen()["state"] != "running":
        pool.mortar("host1", "vm", "start", guest.name)
    wait_one_runs(pool, guest.name)
    with Recorder(pool.lab, guest.name) as heart:
        wait_heartbeat(heart)
    pool.mortar("host1", "vm", "stop", guest.name, "--force")
    pool.mortar("host1", "vm", "rm", guest.name)
    assert pool.lab.exec("host1", ["ls", "/mnt/vms/vms"]).stdout.split().count(guest.name) == 0


def move_and_hurt(cluster, guest, phase, act):
    """A migration, act() at its phase; then one instance runs, and its clock never went back."""
    source = guest.seen()["host"]
    target = {"host1": "host2", "host2": "host1"}[source]
    with Recorder(cluster.lab, guest.name) as heart:
        wait_heartbeat(heart)
        start = heart.mark()
        with AtPhase(cluster.lab, source, "vm.migrate", phase, lambda: act(source, target)) as trap:
            done = begin(cluster, trap, "host3", "vm", "migrate", guest.name, "--to", target)
        assert trap.met, f"the task never met {phase}: {done.stdout}{done.stderr}"
        print(f"\nmet in {trap.met}, exit {done.returncode} {done.stderr.strip()[-300:]}")
        yield
        wait_idle(cluster)
        wait_one_runs(cluster, guest.name)
        wait_heartbeat(heart)
        ticks = [line[2] for line in heart.lines[start:]]
    assert ticks == sorted(set(ticks)), "a second instance ran, or the guest started anew"


@cases_of("vm.migrate")
def test_migrate_survives(guest, case):
    lab = guest.cluster.lab
    for _ in move_and_hurt(guest.cluster, guest, case.phase,
                           lambda source, target: phase_kill.kill(lab, case.host, case.daemon)):
        pass


# -- the two ends of a migration, and what is between them


@pytest.mark.parametrize("phase", ["copy", "handover"])
@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("daemon", ["agent", "libvirtd"])
def test_a_move_survives_the_death_of_one_end(guest, daemon, end, phase):
    if not IS_FULL and (daemon, end, phase) not in MOVES_SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")
    lab = guest.cluster.lab
    for _ in move_and_hurt(guest.cluster, guest, phase, lambda source, target: phase_kill.kill(
            lab, source if end == "source" else target, daemon)):
        pass


@pytest.mark.parametrize("phase", phase_kill.PHASES["vm.migrate"])
def test_a_move_survives_the_loss_of_the_connection(guest, phase):
    """Both hosts keep the store and their own bricks; the storage network between them drops every
    packet, so nobody hears that it is cut. The move ends while it is (docs/bugs.md B2)."""
    if not IS_FULL and phase not in CUTS_SAMPLED:
        pytest.skip("not in this sample; MORTAR_FULL=1 tries all")
    lab = guest.cluster.lab
    try:
        for _ in move_and_hurt(guest.cluster, guest, phase, lambda source, target: lab.partition(
                source, target, "storage")):
            wait_idle(guest.cluster)
            lab.heal()
    finally:
        lab.heal()
    wait_healed(guest.cluster)


def test_a_move_survives_a_mute_libvirtd(guest):
    """The target's libvirtd is stopped, not dead: its socket takes the connection and says nothing."""
    lab = guest.cluster.lab
    source = guest.seen()["host"]
    target = {"host1": "host2", "host2": "host1"}[source]
    wake_libvirtd(guest.cluster, target)
    mute = phase_kill.pids(lab, target, "libvirtd")[0]
    with Recorder(lab, guest.name) as heart:
        wait_heartbeat(heart)
        first = heart.last()
        os.kill(mute, signal.SIGSTOP)
        try:
            done = guest.cluster.mortar("host3", "vm", "migrate", guest.name, "--to", target, check=False)
        finally:
            os.kill(mute, signal.SIGCONT)
        assert done.returncode == AGAIN and "hint:" in done.stderr, done
        assert guest.seen("host3")["host"] == source
        wait_heartbeat(heart)
        assert heart.last()[2] > first[2], "the same instance"
    wait_idle(guest.cluster, "host3")
    finish(guest.cluster, "host3", ["vm", "migrate", guest.name, "--to", target],  # it has to be heard again
           lambda: guest.seen("host3")["host"] == target)
    wait_one_runs(guest.cluster, guest.name)


def test_force_ends_the_move_of_a_host_that_is_silent(guest):
    """The source is cut off from the others in the middle of a move: it works on the task and hears no
    cancel. Another host ends it by force, once the source has been silent for 90 s, and not before."""
    if not IS_FULL:
        pytest.skip("takes minutes; MORTAR_FULL=1 tries it")
    cluster, lab = guest.cluster, guest.cluster.lab
    source = guest.seen("host3")["host"]
    target = {"host1": "host2", "host2": "host1"}[source]

    def task(number):
        return next(t for t in cluster.show("host3", "task", "ls")["items"] if t["id"] == number)

    with Recorder(lab, guest.name) as heart:
        wait_heartbeat(heart)
        with AtPhase(lab, "host3", "vm.migrate", "copy", lambda: lab.partition(source, None, "mgmt")) as trap:
            number = cluster.mortar("host3", "vm", "migrate", guest.name, "--to", target, "--no-wait").stdout.strip()
            cluster.wait_until("the move has met the cut", lambda: trap.met)
        try:
            cluster.mortar("host3", "task", "cancel", number)
            assert task(number)["state"] == "running", "a silent host is waited for"
            cluster.mortar("host3", "task", "cancel", number, "--force")
            cluster.wait_until("another host has ended it", lambda: task(number)["state"] != "running", SETTLE_S)
            assert task(number)["state"] == "cancelled"
            assert task(number)["runner"] != source
        finally:
            lab.heal()
        wait_idle(cluster)
        wait_one_runs(cluster, guest.name)
        wait_heartbeat(heart)
    wait_healed(cluster)


def wake_libvirtd(cluster, host):
    """It ends after two idle minutes; its socket starts it again."""
    cluster.lab.exec(host, ["virsh", "-q", "list"])


def wait_healed(cluster):
    """Until all bricks have all writes again, so that the next fault meets a whole pool."""
    cluster.wait_until("the pool is whole again", cluster.is_healed, SETTLE_S)


# -- what the cluster stands on goes away


def kill_bricks(cluster, hosts):
    """End the brick processes; glusterd lives, but starts them only on demand."""
    for host in hosts:
        cluster.lab.exec(host, ["pkill", "-KILL", "-x", "glusterfsd"])


def start_bricks(cluster):
    """As an administrator would."""
    words = ["gluster", "--mode=script", "volume", "start", "vms", "force"]
    cluster.wait_until("glusterd takes the command", lambda: cluster.lab.exec(
        "host1", words, check=False, timeout=120).returncode == 0)


def test_a_brick_whose_port_glusterd_has_lost_is_started_anew(guest):
    """docs/bugs.md B6, made by hand: what glusterd has stored of its brick is changed while it does not run."""
    if not IS_FULL:
        pytest.skip("takes minutes; MORTAR_FULL=1 tries it")
    cluster, lab = guest.cluster, guest.cluster.lab

    def portless():
        return [a for a in cluster.show("host3", "status")["alarms"] if a["alarm"] == "brick.no_port"]

    def brick_pids():
        return lab.exec("host2", ["pgrep", "-x", "glusterfsd"], check=False).stdout.split()

    wait_healed(cluster)
    before = brick_pids()
    with Recorder(lab, guest.name) as heart:
        wait_heartbeat(heart)
        first = heart.last()
        lab.exec("host2", ["systemctl", "stop", "glusterd"])
        lab.exec("host2", ["sh", "-c", "sed -i 's/^listen-port=.*/listen-port=0/' /var/lib/glusterd/vols/vms/bricks/*"])
        lab.exec("host2", ["systemctl", "start", "glusterd"])
        cluster.wait_until("it is told that the brick has no port", portless)
        assert brick_pids() == before, "glusterd found the brick that ran"
        # Until a mount has lost it nothing is ended. Here it would find it again: glusterd learned the 0 before the port.
        address = cluster.show("host3", "host", "show", "host2")["addresses"]["storage"]
        port = re.search(r":(\d+) .*glusterfsd", lab.exec("host2", ["ss", "-Hltnp"]).stdout)[1]
        lab.exec("host1", ["nft", f"table inet lost {{ chain out {{ type filter hook output priority 0; "
                                  f"ip daddr {address} tcp dport {port} drop\n }}; }}"])
        lab.exec("host1", ["ss", "-K", "-H", "-t", "dst", address, "dport", "=", f":{port}"])
        cluster.wait_until("the brick is another process", lambda: brick_pids() and brick_pids() != before, 180)
        cluster.wait_until("it has a port", lambda: not portless())
        lab.exec("host1", ["nft", "delete", "table", "inet", "lost"])
        wait_healed(cluster)
        wait_heartbeat(heart)
        assert heart.last()[2] > first[2], "the same instance"


def test_without_quorum_nothing_starts_and_guests_wait(guest):
    cluster = guest.cluster
    second = Guest(cluster, "second", writes_per_s=0)
    if second.name not in cluster.names("host1", "vm"):
        second.create("vms", "host1", "--no-start")
    with Recorder(cluster.lab, guest.name) as heart:
        wait_heartbeat(heart)
        kill_bricks(cluster, ["host2", "host3"])
        try:
            cluster.wait_until("the pool has no quorum", lambda: not cluster.show(
                "host1", "pool", "show", "vms")["quorum"])
            done = cluster.mortar("host1", "vm", "start", "second", check=False)
            assert done.returncode == AGAIN and "no quorum" in done.stderr, done
            cluster.wait_until("the guest is paused, not dead",
                               lambda: "paused" in states(cluster, guest.name).values())
        finally:
            start_bricks(cluster)
        start = heart.last()
        heart.wait_for(lambda line: line[3]["flushed"] > start[3]["flushed"] + 10, SETTLE_S)
        assert heart.last()[2] > start[2], "the same instance goes on"
    wait_one_runs(cluster, guest.name)
    # Its disk goes through a mount that may meet the bricks a moment later than the guest's.
    finish(cluster, "host1", ["vm", "rm", "second"], lambda: second.name not in cluster.names("host1", "vm"))


def test_without_the_store_guests_run_and_commands_say_so(guest):
    cluster = guest.cluster
    with Recorder(cluster.lab, guest.name) as heart:
        wait_heartbeat(heart)
        first = heart.last()
        for host in ("host1", "host2", "host3"):
            cluster.lab.exec(host, ["systemctl", "stop", "etcd"])
        try:
            def is_refused():
                """The first one may be caught in the middle: then nobody knows, and it says so."""
                done = cluster.mortar("host1", "token", "create", check=False)
                assert done.returncode in (AGAIN, UNKNOWN) and "hint:" in done.stderr, done
                return done.returncode == AGAIN and "store does not answer" in done.stderr
            cluster.wait_until("changes are refused", is_refused)
            assert "does not answer" in cluster.mortar("host1", "status").stdout
            wait_heartbeat(heart)
            phase_kill.kill(cluster.lab, guest_host(cluster, guest), "agent")
            wait_heartbeat(heart)
        finally:
            for host in ("host1", "host2", "host3"):
                cluster.lab.exec(host, ["systemctl", "start", "--no-block", "etcd"])
        wait_idle(cluster)
        wait_one_runs(cluster, guest.name)
        wait_heartbeat(heart)
        assert heart.last()[2] > first[2], "the same instance"


def guest_host(cluster, guest):
    """Where libvirt has it: `vm show` needs the store."""
    (host,) = states(cluster, guest.name)
    return host


@contextlib.contextmanager
def full_pool(cluster):
    """While this lasts, no data brick has a free byte."""
    try:
        for host in DATA_HOSTS:
            cluster.lab.disk(host, "fill")
        yield
    finally:
        for host in DATA_HOSTS:
            cluster.lab.disk(host, "free")


def test_an_image_does_not_fit_in_a_full_pool(guest):
    cluster = guest.cluster
    big = f"{guest_module.IN_HOST}/big.raw"
    cluster.lab.exec("host1", ["sh", "-c", f"head -c 64M /dev/urandom > {big}"])
    before = cluster.lab.exec("host1", ["ls", "/mnt/vms/images"]).stdout
    cluster.mortar("host1", "vm", "stop", guest.name, "--force")
    with full_pool(cluster):
        done = cluster.mortar("host1", "image", "import", big, "--name", "big", "--pool", "vms",
                              "--format", "raw", check=False)
    assert done.returncode == REFUSED and "free" in done.stderr and "hint:" in done.stderr, done
    assert cluster.names("host1", "image") == [guest_module.IMAGE]
    assert cluster.lab.exec("host1", ["ls", "/mnt/vms/images"]).stdout == before
    # Bricks look only every 5 s whether they are full (GlusterFS 10, posix_disk_space_check).
    finish(cluster, "host1", ["image", "import", big, "--name", "big", "--pool", "vms", "--format", "raw"],
           lambda: "big" in cluster.names("host1", "image"))
    cluster.mortar("host1", "image", "rm", "big")


def test_a_vm_does_not_fit_in_a_full_pool_and_leaves_nothing(pool):
    def in_bricks():
        return [sorted(pool.lab.exec(host, ["find", "/data/gluster/vms/brick/vms"]).stdout.split()) for host in DATA_HOSTS]

    def is_made():
        return "late" in pool.names("host1", "vm")
    if guest_module.IMAGE not in pool.names("host1", "image"):
        put_guest(pool)
        pool.mortar("host1", "image", "import", f"{guest_module.IN_HOST}/demo.qcow2", "--name", guest_module.IMAGE,
                    "--pool", "vms")
    for name in pool.names("host1", "vm"):  # a guest that writes would be paused
        pool.mortar("host1", "vm", "stop", name, "--force")
    words = ["vm", "create", "late", "--image", guest_module.IMAGE, "--pool", "vms", "--memory", guest_module.MEMORY,
             "--kernel", f"{guest_module.IN_HOST}/vmlinuz", "--initrd", f"{guest_module.IN_HOST}/initrd", "--no-start"]
    before = in_bricks()
    with full_pool(pool):
        done = pool.mortar("host1", *words, check=False)
        assert done.returncode == REFUSED and re.search("no room|free", done.stderr) and "hint:" in done.stderr, done
        assert not is_made() and in_bricks() == before, "undone, while the pool is full"
    finish(pool, "host1", words, is_made)  # bricks see it within 5 s, see above
    pool.mortar("host1", "vm", "rm", "late")
    assert in_bricks() == before
