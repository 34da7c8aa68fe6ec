# SPDX-License-Identifier: Apache-2.0
"""Kills a daemon of a lab host at the moment a task enters a phase.

The agent's socket is reached through /proc, so that milliseconds, not commands, lie between the
phase and the kill. Nothing here sleeps for a fixed time in the hope that something has happened.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import threading
import time

from mortarlab import cgroup

POLL_S = 0.003
START_S = 2  # libvirtd comes with its socket only
ANSWER_S = 30
UNITS = {"agent": "mortard", "libvirtd": "libvirtd", "glusterd": "glusterd"}
# Names of phases as in src/core/op/*.c.
PHASES = {
    "init": ["preflight", "identity", "etcd", "store", "gluster", "libvirt", "register", "uplink"],
    "join": ["preflight", "enrol", "store", "gluster", "libvirt", "online", "peers", "members", "uplink"],
    "pool.create": ["bricks", "volume", "options", "start", "ready", "mounts"],
    "vm.create": ["disks", "start", "wait"],
    "vm.migrate": ["check", "claim", "copy", "handover"],
}
# Who may be hurt: for init there is only the first host, for a migration both ends.
INVOLVED = {
    "init": ["host1"],
    "join": ["host1", "host2"],
    "pool.create": ["host1", "host2", "host3"],
    "vm.create": ["host1", "host2"],
    "vm.migrate": ["host1", "host2"],
}


@dataclasses.dataclass(frozen=True)
class Case:
    """What is killed, where, and when."""
    kind: str
    phase: str
    daemon: str
    host: str

    def __str__(self):
        return f"{self.kind}-{self.phase}-{self.daemon}-{self.host}"


def runs_there(kind, phase, daemon, host):
    """Is there such a daemon by then? glusterd is started by init and join."""
    phases = PHASES[kind]
    if daemon == "glusterd" and (kind, host) in {("init", "host1"), ("join", "host2")}:
        return phases.index(phase) >= phases.index("gluster")
    return (daemon, host) != ("libvirtd", "host3")


def all_cases(chance):
    """Every daemon at every phase of every kind, each on a host drawn by chance."""
    cases = []
    for kind, phases in PHASES.items():
        for phase in phases:
            for daemon in UNITS:
                hosts = [h for h in INVOLVED[kind] if runs_there(kind, phase, daemon, h)]
                if hosts:
                    cases.append(Case(kind, phase, daemon, chance.choice(hosts)))
    return cases


def sample_cases(chance, count):
    """One case of each kind, the others of any; in the order of all_cases()."""
    cases = all_cases(chance)
    chosen = {chance.choice([c for c in cases if c.kind == kind]) for kind in PHASES}
    rest = [c for c in cases if c not in chosen]
    chosen |= set(chance.sample(rest, count - len(chosen)))
    return [c for c in cases if c in chosen]


class Agent:
    """The API of one host's agent, from outside the host."""

    def __init__(self, lab, host):
        self.group = lab.host(host).cgroup

    def ask(self, path):
        """(status, text) that GET answers, or None while there is no agent."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.settimeout(5)
            try:
                sock.connect(f"/proc/{cgroup.leader(self.group)}/root/run/mortar/agent.sock")
                conn = http.client.HTTPConnection("localhost")
                conn.sock = sock
                conn.request("GET", path)
                answer = conn.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                return None

    def tasks(self, within_s=0):
        """All tasks that it knows; none when it does not answer."""
        end = time.monotonic() + within_s
        while not (answer := self.ask("/v1/tasks")) and time.monotonic() < end:
            time.sleep(POLL_S)
        return json.loads(answer[1])["items"] if answer and answer[0] == 200 else []


def pids(lab, host, daemon):
    """Pids, as this machine sees them, of a daemon in a host."""
    return pids_named(lab, host, UNITS[daemon])


def pids_named(lab, host, comm):
    """The same of processes that the kernel knows by that name."""
    found = []
    for pid in cgroup.processes(lab.host(host).cgroup):
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == comm:
                found.append(pid)
    return sorted(found)


def kill(lab, host, daemon):
    """SIGKILL to the daemon itself, not to what it started. It may be about to start."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        for pid in pids(lab, host, daemon)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return
        time.sleep(POLL_S)


def kill_store(lab):
    """All members of etcd die at once, and stay away."""
    names = [host.name for host in lab.hosts()]
    for pid in [pid for name in names for pid in pids_named(lab, name, "etcd")]:
        os.kill(pid, signal.SIGKILL)
    for name in names:
        lab.exec(name, ["systemctl", "stop", "etcd"], check=False)  # or systemd starts it again


class Watcher:
    """with …: _watch() runs in a thread until self.stopping is set, and has ended afterwards."""

    def __init__(self):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def _watch(self):
        raise NotImplementedError


class AtPhase(Watcher):
    """with AtPhase(lab, host, "vm.migrate", "copy", act): …

    Calls act() once, in a thread, when the first task of that kind that is not there yet enters the
    phase, or a later one: some last less than a poll.
    """

    def __init__(self, lab, host, kind, phase, act):
        super().__init__()
        self.agent = Agent(lab, host)
        self.kind = kind
        self.late_by = PHASES[kind].index(phase)
        self.act = act
        self.known = {task["id"] for task in self.agent.tasks(ANSWER_S)}
        self.met = None  # the phase in which act() was called

    def _watch(self):
        order = PHASES[self.kind]
        is_last = False
        while self.met is None and not is_last:
            is_last = self.stopping.is_set()  # the command has ended: its task stands in its last phase
            for task in self.agent.tasks(ANSWER_S if is_last else 0):
                if (task["kind"] == self.kind and task["id"] not in self.known
                        and order.index(task["phase"]) >= self.late_by):
                    self.met = task["phase"]
                    self.act()
                    return
            time.sleep(POLL_S)
