# SPDX-License-Identifier: Apache-2.0
"""What a host's own processes can do to it, and how its guard is seen meanwhile."""

import contextlib
import json
import pathlib
import socket

from mortarlab import cgroup

MIB = 1 << 20
BOMB_TASKS = 300  # of the user nobody, by the kernel's own limit, so it ends there
# More than a guest of the lab: the kernel ends the largest.
SPARE_BYTES = 384 * MIB
HOG_LIMIT = "1G"  # where nobody squeezes it, it ends by itself
GUARD_SOCKET = "run/mortar/guard.sock"


class Guard:
    """The guard of a host, seen from outside: what it says of itself, and its process."""

    def __init__(self, lab, host):
        self.lab, self.host = lab, host

    def status(self):
        """One status datagram."""
        leader = cgroup.leader(self.lab.host(self.host).cgroup)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(10)
            sock.connect(f"/proc/{leader}/root/{GUARD_SOCKET}")
            sock.send(b"status")
            return json.loads(sock.recv(65536))

    def process(self):
        """{pid, started, faults (major: a page was read from a disk), locked, resident, killable}."""
        pid = next(p for p in cgroup.processes(self.lab.host(self.host).cgroup / "payload")
                   if pathlib.Path(f"/proc/{p}/comm").read_text() == "mortar-guard\n")
        proc = pathlib.Path(f"/proc/{pid}")
        stat = proc.joinpath("stat").read_text().rpartition(") ")[2].split()
        words = dict(line.split(":", 1) for line in proc.joinpath("status").read_text().splitlines())
        return {"pid": pid, "started": stat[19], "faults": int(stat[9]),
                "locked": int(words["VmLck"].split()[0]), "resident": int(words["VmRSS"].split()[0]),
                "killable": int(proc.joinpath("oom_score_adj").read_text())}


def host_process_count(lab, host):
    """How many tasks a host has."""
    return len(cgroup.processes(lab.host(host).cgroup / "payload"))


@contextlib.contextmanager
def running(lab, host, name, properties, argv):
    """A unit of a user without rights; ended from outside with all that it forked, however fast that forks."""
    words = [word for entry in ("User=nobody", "RuntimeMaxSec=90", *properties) for word in ("-p", entry)]
    lab.exec(host, ["systemd-run", "--quiet", "--collect", f"--unit={name}", *words, *argv])
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # a host without memory or processes may be slow to hear of it
            lab.exec(host, ["systemctl", "stop", "--no-block", name], check=False)
        cgroup.kill(lab.host(host).cgroup / "payload/system.slice" / f"{name}.service")


@contextlib.contextmanager
def fork_bomb(lab, host):
    """Each process forks as often as the kernel lets it, and tries again without a pause."""
    before = host_process_count(lab, host)
    with running(lab, host, "lab-bomb", [f"LimitNPROC={BOMB_TASKS}"], ["perl", "-e", "fork while 1"]):
        yield lambda: host_process_count(lab, host) > before + BOMB_TASKS * 9 // 10


@contextlib.contextmanager
def no_memory(lab, host):
    """A program takes all that is left, is ended by the kernel, and starts again."""
    before = cgroup.memory_kills(lab.name, host)
    lab.squeeze(host, SPARE_BYTES)
    try:
        with running(lab, host, "lab-hog", ["Restart=always", "RestartSec=100ms", "StartLimitIntervalSec=0",
                                          f"LimitAS={HOG_LIMIT}"],
                     ["perl", "-e", "push @a, 'x' x 1048576 while 1"]):
            yield lambda: cgroup.memory_kills(lab.name, host) > before + 1
    finally:
        lab.squeeze(host, None)


@contextlib.contextmanager
def full_disk(lab, host):
    """The root, with /var/lib/mortar, has no free byte."""
    lab.disk(host, "fill-root")
    try:
        yield lambda: "No space left" in lab.exec(host, ["mkdir", "/var/lib/mortar/lab-more"], check=False).stderr
    finally:
        lab.disk(host, "free")


ALL = {"a fork bomb": fork_bomb, "a want of memory": no_memory, "a full disk": full_disk}
