# SPDX-License-Identifier: Apache-2.0
"""Plays random schedules (schedule.py) in a lab, and has each judged by the history of a guest's disk (history.py).

    cluster, guest = ready(lab)
    with Keeper(cluster, guest) as keeper:
        row = run_one(keeper, Schedule(seed))       # row["violations"] is empty, or says what was seen

After each schedule the guest's writer stands still for a moment, so that all that it wrote is looked at through both
mounts and on both bricks at rest; nothing is stopped for it.
"""

import contextlib
import subprocess
import time

from mortarlab import LabError

from . import guest as guest_module
from .cluster import Cluster, CommandFailed
from .faults import DATA_HOSTS, FAULTS, HOSTS, cut_cables, kill_daemon, lead_store, other
from .history import WINDOW
from .keeper import make_guest
from .strangers import Stalls

# A hang may end before the guard runs again, and no lab has a watchdog: S3 is not promised (docs/design/failover.md).
NO_S3 = ("hang",)
WRITES = 100       # numbers flushed before and after each fault
WRITES_WITHIN_S = 120
MOVE_WITHIN_S = 300
WHOLE_WITHIN_S = 240
# Of T_det, a beat before and one after it are silent, too: what took longer, on a machine that had no time for the lab,
# was no light fault of that host, whatever the schedule says. From the guard's time to freeze on its hang is one that no lab
# can promise S3 for.
LIGHT_MAX_S = 2.0
FREEZE_S = 3.5
# A machine that stands still for so long adds it to whatever fault there is, on hosts that no schedule names.
STALL_MAX_S = 1.0
EXPLAIN = ("mortar status; mortar task ls; mortar vm why demo; ip -br addr; nft list table inet mortar_fence | head -40; "
           "journalctl -u 'mortar*' -n 60 --no-pager -o short-precise; "
           "tail -n 20 /var/log/mortar/console/*.log")


def explain(lab):
    """After a failure: what each host knows of it."""
    said = []
    for host in sorted(host.name for host in lab.hosts()):
        with contextlib.suppress(Exception):  # it may have no power
            done = lab.exec(host, ["sh", "-c", EXPLAIN], check=False, timeout=30)
            said.append(f"--- {host}\n{done.stdout}{done.stderr}")
    return "\n".join(said)


def ready(lab):
    """A cluster with failover on and the guest running; what is there already stays."""
    cluster = Cluster(lab)
    cluster.form_with_failover()
    guest = make_guest(cluster)
    for host in DATA_HOSTS:
        guest.put_files(guest_module.build(), host)
    if guest.name not in cluster.names("host3", "vm"):
        guest.create()
    elif guest.seen("host3")["state"] != "running":
        cluster.mortar("host3", "vm", "start", guest.name)
    cluster.wait_whole("host3", WHOLE_WITHIN_S)
    return cluster, guest


# -- light faults


class Light:
    """Plays the steps of a schedule. with Light(keeper) as light: light.play(step); on leaving a move has ended."""

    def __init__(self, keeper):
        self.keeper, self.lab = keeper, keeper.lab
        self.move = None
        self.outlasted = []  # faults that took longer than a light one may

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.move:
            try:
                self.move.communicate(timeout=MOVE_WITHIN_S)
            finally:
                self.move.kill()
                self.move.drop_group()

    def play(self, step):
        """The fault itself, from first to last."""
        time.sleep(step.pause_s)
        if step.what in ("kill", "kill two"):
            for host, daemon in zip(step.hosts, step.detail):
                kill_daemon(self.lab, host, daemon)
        elif step.what == "kill store":
            for host in HOSTS:
                kill_daemon(self.lab, host, "etcd")
        elif step.what == "migrate":
            self.migrate()
        else:
            self.stretch(step)

    def stretch(self, step):
        """A fault that lasts."""
        host, began = step.hosts[0], time.monotonic()
        if step.what == "stand":
            self.lab.hang(host)
        elif step.what == "blink":
            cut_cables(self.lab, host)
        else:
            for network in step.detail:
                self.lab.partition(host, step.hosts[1] if len(step.hosts) > 1 else None, network)
        time.sleep(step.lasts_s)  # the fault itself
        if step.what == "stand":
            self.lab.resume(host)
        else:
            self.lab.heal()
        lasted_s = time.monotonic() - began
        if step.what in ("stand", "blink") and lasted_s > LIGHT_MAX_S:
            self.outlasted.append({"what": step.what, "host": host, "lasted_s": round(lasted_s, 1)})

    def migrate(self):
        """Whether it succeeds is up to what comes upon it; that the guest goes on is not."""
        target = other(self.keeper.heart.last()[1])
        self.move = self.lab.popen("host3", ["mortar", "vm", "migrate", self.keeper.guest.name, "--to", target],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


# -- waiting


def wait_writes(keeper, host=None):
    """Until the guest has flushed more than anybody may have written by now; on that host when one is given."""
    goal = keeper.heart.last()[3]["flushed"] + WINDOW + WRITES if keeper.heart.last() else WRITES
    keeper.heart.wait_for(lambda line: host in (None, line[1]) and line[3]["flushed"] > goal, WRITES_WITHIN_S)


def restarts(keeper):
    """What light faults must not do: an instance that began, or one that ran in two places."""
    lines = list(keeper.heart.lines)
    if len({words["epoch"] for _, _, _, words in lines}) > 1:
        yield "a light fault restarted the guest"
    hosts = [host for _, host, _, _ in lines]
    if sum(1 for a, b in zip(hosts, hosts[1:]) if a != b) > 2:
        yield "the guest ticked on two hosts in turns"


# -- a host that is lost


def amid(cluster, loss, victim, survivors):
    """Something of a survivor dies, too."""
    if loss.amid_s:
        time.sleep(loss.amid_s)  # the schedule itself
    else:
        def is_fenced():
            with contextlib.suppress(CommandFailed, LabError, ValueError):  # asked again
                hosts = cluster.show(survivors[1 - loss.survivor], "host", "ls")["items"]
                return {h["name"]: h["state"] for h in hosts}[victim] != "online"
        cluster.wait_until(f"the fence of {victim} has begun", is_fenced, WRITES_WITHIN_S)
    if loss.beside:
        kill_daemon(cluster.lab, survivors[loss.survivor], loss.beside)


def mend(lab, loss, victim):
    """The host comes back; nobody waits for it here."""
    if loss.what == "power":
        lab.boot(victim, deadline_s=0)
    else:
        FAULTS[loss.what][1](lab, victim)


def play_loss(keeper, loss):
    """A host is lost and comes back; who was looked at and when is up to where the guest lives."""
    cluster = keeper.cluster
    home = keeper.heart.last()[1]
    victim = {"guest": home, "other": other(home), "witness": "host3"}[loss.victim]
    survivors = [host for host in HOSTS if host != victim]
    keeper.through = survivors[-1]
    if loss.leads:
        lead_store(cluster, victim)
    FAULTS[loss.what][0](cluster.lab, victim)
    began, is_back = time.monotonic(), False
    try:
        amid(cluster, loss, victim, survivors)
        if loss.back_s:
            time.sleep(max(0, began + loss.back_s - time.monotonic()))  # the schedule itself
            mend(cluster.lab, loss, victim)
            is_back = True
            wait_writes(keeper)
        else:
            keeper.heart.wait_for(lambda line: line[1] == other(home), WRITES_WITHIN_S)
            keeper.look(other(home))
            wait_writes(keeper, other(home))
        keeper.look(next(host for host in DATA_HOSTS if host != victim))
    finally:
        if not is_back:
            mend(cluster.lab, loss, victim)


# -- one schedule


def play(keeper, schedule):
    """All of it, until the guest writes again; which light faults took too long to be any."""
    wait_writes(keeper)
    if schedule.loss:
        play_loss(keeper, schedule.loss)
        return []
    with Light(keeper) as light:
        for step in schedule.steps:
            light.play(step)
    wait_writes(keeper)
    return light.outlasted


def run_one(keeper, schedule):
    """Plays it and judges it; its row. The keeper's history goes on from the end of the schedule before."""
    started, marks = time.monotonic(), {}

    def mark(name):
        marks[name] = round(max(0, time.monotonic() - started - sum(marks.values())), 1)
    keeper.begin_anew()
    before = keeper.cluster.incarnations(keeper.through)
    with Stalls() as stalls:
        outlasted = play(keeper, schedule)
        mark("faults")
        keeper.cluster.wait_whole(keeper.through, WHOLE_WITHIN_S)
        mark("whole")
    keeper.look_in_peace()
    mark("looks")
    is_long_hang = stalls.longest_s > LIGHT_MAX_S or any(
        f["what"] == "stand" and f["lasted_s"] > FREEZE_S for f in outlasted)
    left_out = ("C6",) if (schedule.loss and schedule.loss.what in NO_S3) or is_long_hang else ()
    found = [str(violation) for violation in keeper.judge(left_out)]
    if not schedule.loss and stalls.longest_s <= STALL_MAX_S:
        excused = {fault["host"] for fault in outlasted}
        found += restarts(keeper) if not excused & {line[1] for line in keeper.heart.lines} else []
        found += [f"a light fault fenced {host}" for host, node in keeper.cluster.incarnations(keeper.through).items()
                  if node != before[host] and host not in excused]
    mark("judge")
    return {"seed": schedule.seed, "kind": schedule.kind(), "faults": schedule.words(),
            "seconds": round(time.monotonic() - started, 1), "parts": marks, "views": len(keeper.views),
            "beats": len(keeper.heart.lines), "left_out": left_out, "outlasted": outlasted,
            "stalled_s": round(stalls.longest_s, 2), "violations": found}


def try_one(keeper, schedule):
    """run_one(), where what breaks off is a violation, too: a guest that does not write again, a host that does not
    come back."""
    try:
        return run_one(keeper, schedule)
    except Exception as error:  # whatever it is, the seed must be told
        return {"seed": schedule.seed, "kind": schedule.kind(), "faults": schedule.words(),
                "violations": [f"{type(error).__name__}: {error}"]}
