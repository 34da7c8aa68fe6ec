# SPDX-License-Identifier: Apache-2.0
"""A migration of the demo guest that is hurt in the middle, and what must be true of it afterwards."""

import contextlib
import pathlib
import subprocess
import time

from phase_kill import AtPhase

from mortarcluster import Guest, Recorder
from mortarcluster import guest as guest_module
from mortarcluster.faults import DATA_HOSTS, other, recover
from mortarlab import cgroup

OTHER = {host: other(host) for host in DATA_HOSTS}
SETTLE_S = 180
POLL_S = 0.003
STILL_S = 0.06  # without a beat: the guest is paused


def make_demo(cluster):
    """The demo guest, created where failover is on: born where the guard can freeze it."""
    guest = Guest(cluster, writes_per_s=50, emit_ms=10)
    for host in DATA_HOSTS:
        guest.put_files(guest_module.build(), host)
    guest.create()
    cluster.wait_heard("host3", guest.name)
    return guest


def put_beside(cluster, guest, name):
    """One more guest that writes, made unless it is there, on the data host that does not run the first one."""
    beside = Guest(cluster, name, writes_per_s=20, emit_ms=20)
    if name not in cluster.names("host3", "vm"):
        beside.create()
    cluster.wait_heard("host3", name)
    there = other(guest.seen("host3")["host"])
    if beside.seen("host3")["host"] != there:
        beside.migrate(there, "host3")
        cluster.wait_heard("host3", name)
    return beside


def make_ready(cluster, demo):
    """Until it runs on a whole cluster: before each test, whatever the one before has left."""
    cluster.wait_whole()
    recover(cluster, demo)
    cluster.wait_until("the guest runs", lambda: demo.seen("host3")["state"] == "running", SETTLE_S)


def qemu_pids(lab, host, name):
    """Pids, as this machine sees them, of QEMUs of a VM in a host; none while that has no power."""
    found = []
    for pid in cgroup.processes(lab.host(host).cgroup):
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-system-x86_64") and any(
                    word.startswith(f"guest={name},".encode()) for word in words):
                found.append(pid)
    return sorted(found)


def wait_qemu(lab, host, name, within_s=120):
    """The pid of the VM's QEMU in a host, as soon as there is one."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        pids = qemu_pids(lab, host, name)
        if pids:
            return pids[0]
        time.sleep(POLL_S)
    raise TimeoutError(f"no QEMU of {name} on {host} within {within_s} s")


def wait_healed(cluster):
    """Until all hosts speak and all bricks have all writes: the next fault meets a whole pool."""
    cluster.wait_until("the pool is whole", lambda: cluster.is_whole("host1"), SETTLE_S)


def wait_runs_on(cluster, name, hosts=DATA_HOSTS, through="host3"):
    """Until the VM runs where `vm show` says, on one of the hosts, by one QEMU of all that have power; what that says."""
    def seen():
        with contextlib.suppress(Exception):
            vm = cluster.vm(name, through)
            counts = {host: len(qemu_pids(cluster.lab, host, name)) for host in DATA_HOSTS}
            return (vm["state"] == "running" and vm["host"] in hosts and counts[vm["host"]] == 1
                    and sum(counts.values()) == 1 and vm)
    return cluster.wait_until(f"{name} runs on {hosts}", seen, SETTLE_S)


def last_task(cluster, kind, host="host3"):
    """The newest task of a kind."""
    return [t for t in cluster.show(host, "task", "ls")["items"] if t["kind"] == kind][-1]


def judge(cluster, guest, flushed):
    """Stop the guest: its disk has every block that it had flushed, in order; start it again."""
    where = guest.seen("host3")["host"]  # the other one may be out
    cluster.mortar("host3", "vm", "stop", guest.name)
    verdict = guest.judge(where, flushed)
    assert verdict["ok"], verdict["violations"]
    cluster.mortar("host3", "vm", "start", guest.name)


class HurtMove:
    """with HurtMove(cluster, guest, phase, act) as move: … A move under way in which act(source, target)
    was called in a phase. On leaving: no two guests ran, and the command has ended."""

    def __init__(self, cluster, guest, phase, act):
        self.cluster, self.guest, self.phase, self.act = cluster, guest, phase, act
        seen = guest.seen("host3")
        self.source, self.target = seen["host"], OTHER[seen["host"]]
        self.epoch = seen["epoch"]
        self.heart = Recorder(cluster.lab, guest.name)
        self.flushed = None
        self.is_hurt = False
        self.child = None
        self.met = None  # the phase in which it was hurt

    def _hurt(self):
        self.act(self)
        self.is_hurt = True

    def __enter__(self):
        self.heart.__enter__()
        try:
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def _begin(self):
        first = self.heart.wait_for(lambda line: line[1] == self.source)
        self.heart.wait_for(lambda line: line[3]["flushed"] > first[3]["flushed"] + 50)
        self.start = self.heart.mark()
        with AtPhase(self.cluster.lab, self.source, "vm.migrate", self.phase,
                     self._hurt) as trap:
            self._ask()
            self.cluster.wait_until(f"the move meets {self.phase}", lambda: trap.met or self._ask_again())
        assert self.is_hurt, "nothing was hurt: the move had nothing to withstand"
        self.met = trap.met
        self.flushed = self.heart.last()[3]["flushed"]
        print(f"\n{self.source} to {self.target}, met in {self.met}")

    def _ask(self):
        self.child = self.cluster.lab.popen(
            "host3", ["mortar", "vm", "migrate", self.guest.name, "--to", self.target],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def _ask_again(self):
        """A target that was hurt by the test before may not have its pool mounted yet, and is refused until then."""
        if self.child.poll() is not None:
            print(f"\nrefused: {self.child.communicate()[0].strip()[-400:]}")
            self.child.drop_group()
            self._ask()

    def outcome(self):
        """The command's exit code and words."""
        said, _ = self.child.communicate(timeout=SETTLE_S)
        print(f"exit {self.child.returncode}: {said.strip()[-400:]}")
        return self.child.returncode, said

    def _end(self):
        self.heart.__exit__()
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        if self.child:
            self.child.drop_group()

    def __exit__(self, kind, *_):
        self._end()
        if kind is None:
            hosts = [line[1] for line in self.heart.lines[self.start:]]
            changes = sum(1 for a, b in zip(hosts, hosts[1:]) if a != b)
            assert changes <= 2, f"the guests of two hosts ticked in turns: {changes} changes"

    def goes_on_at_the_source(self):
        """The same guest, which never stopped for good, and nothing of it elsewhere."""
        start = self.heart.last()
        self.heart.wait_for(lambda line: line[3]["flushed"] > start[3]["flushed"] + 50, SETTLE_S)
        ticks = [line[2] for line in self.heart.lines[self.start:]]
        assert ticks == sorted(set(ticks)), "it started anew"
        assert {line[1] for line in self.heart.lines[self.start:]} == {self.source}
        seen = wait_runs_on(self.cluster, self.guest.name)
        assert (seen["host"], seen["epoch"]) == (self.source, self.epoch)

    def failed(self):
        """The task failed and says why."""
        def is_over():
            with contextlib.suppress(Exception):
                task = last_task(self.cluster, "vm.migrate")
                return task["state"] != "running" and task
        task = self.cluster.wait_until("the task is over", is_over, SETTLE_S)
        assert task["state"] == "failed" and task["error"]["message"], task
        return task["error"]["message"]


def hurt_in(phase, act):
    """(phase to meet, act()) for HurtMove: of the copy the switch-over is the moment in which the guest's heart stands still."""
    def wait_and_act(move):
        end = time.monotonic() + 30
        while (time.monotonic() < end and move.heart.last()[1] == move.source
               and time.monotonic() - move.heart.last()[0] <= STILL_S):
            time.sleep(POLL_S)
        print(f"\n{time.monotonic() - move.heart.last()[0]:.3f} s after a beat on {move.heart.last()[1]}")
        act(move)
    return ("copy", wait_and_act) if phase == "switch-over" else (phase, act)


def wait_more(heart, start):
    """Until a guest writes: it may have started anew, and count from one."""
    heart.wait_for(lambda line: len(heart.lines) > start and line[3]["flushed"] > 50, SETTLE_S)


def wait_no_task(cluster):
    """Until no task runs any more. An agent that has not read the store yet knows of none."""
    def is_idle():
        with contextlib.suppress(Exception):
            cluster.show("host3", "host", "ls")
            return not [t for t in cluster.show("host3", "task", "ls")["items"] if t["state"] == "running"]
    cluster.wait_until("all tasks have ended", is_idle, SETTLE_S)
