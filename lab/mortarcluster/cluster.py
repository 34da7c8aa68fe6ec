# SPDX-License-Identifier: Apache-2.0
"""The command `mortar` inside the hosts of a lab, and the few steps that every user begins with.

    cluster = Cluster(Lab("mine"))
    cluster.form()                              # init on host1, join on the others
    cluster.mortar("host1", "status")
    cluster.show("host2", "vm", "show", "demo")["host"]
"""

import json
import time

from mortarlab import LabError

DATA_DISK = "/dev/mortar-data"
FREEZE = "/sys/fs/cgroup/mortar.slice/mortar-vms.slice/mortar-vms-ha.slice/cgroup.freeze"
# Longer than any phase of the product may take, on a machine with other work: both only end a hopeless wait.
COMMAND_DEADLINE_S = 300
WAIT_DEADLINE_S = 120
# "Try again", and of what only looks "no answer came in time", are no failure on a machine that stands still for seconds:
# the store elects another leader, an agent answers late. Exit codes of mortar(1).
AGAIN, UNKNOWN = 5, 6
AGAIN_S = 30


class CommandFailed(Exception):
    """`mortar` refused or failed; code is its exit code, words what it said."""

    def __init__(self, host, words, done):
        self.code = done.returncode
        self.said = (done.stderr + done.stdout).strip()
        super().__init__(f"{host}# mortar {' '.join(words)}: exit {self.code}\n{self.said}")


class Cluster:
    """A lab whose hosts have our packages installed."""

    def __init__(self, lab, tell=lambda host, words: None):
        """tell(host, words) is called before each command that changes something."""
        self.lab = lab
        self.tell = tell
        self.is_hurt = False  # a test failed half-way: faults.recover()

    # -- commands

    def mortar(self, host, *words, check=True, timeout=COMMAND_DEADLINE_S):
        """Run `mortar WORDS` in a host: CompletedProcess with text output. One that must succeed (check) is given again
        when it says "try again"."""
        words = [str(w) for w in words]
        if not check:
            return self.lab.exec(host, ["mortar", *words], timeout=timeout, check=False)
        done = self.answer(host, *words, timeout=timeout)
        if done.returncode != 0:
            raise CommandFailed(host, words, done)
        return done

    def answer(self, host, *words, timeout=COMMAND_DEADLINE_S, again=(AGAIN,)):
        """Run `mortar WORDS` in a host until it says something else than "try again", which each time is printed."""
        words = [str(w) for w in words]
        end = time.monotonic() + AGAIN_S
        while True:
            done = self.mortar(host, *words, check=False, timeout=timeout)
            if done.returncode not in again or time.monotonic() > end:
                return done
            print(f"again: {CommandFailed(host, words, done)}")
            time.sleep(0.5)

    def change(self, host, *words, timeout=COMMAND_DEADLINE_S):
        """A command that changes something, told first; what it printed."""
        self.tell(host, [str(w) for w in words])
        return self.mortar(host, *words, timeout=timeout).stdout.strip()

    def show(self, host, *words):
        """The JSON object that `mortar WORDS --json` prints."""
        words = (*words, "--json")
        done = self.answer(host, *words, timeout=60, again=(AGAIN, UNKNOWN))
        if done.returncode != 0:
            raise CommandFailed(host, words, done)
        return json.loads(done.stdout)

    def names(self, host, noun):
        """Names of all objects of a kind: hosts, pools, vms."""
        return [item["name"] for item in self.show(host, noun, "ls")["items"]]

    def wait_until(self, what, condition, within_s=WAIT_DEADLINE_S):
        """Poll condition() until it gives something true; return that."""
        end = time.monotonic() + within_s
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"not within {within_s} s: {what}")
            time.sleep(0.2)

    # -- first steps

    def is_member(self, host):
        """Does this host belong to a cluster? An agent that just starts is waited for."""
        def answer():
            done = self.mortar(host, "status", "--json", check=False, timeout=60)
            if done.returncode == 0:
                return "yes"
            return "no" if "not part of a cluster" in done.stderr + done.stdout else None
        return self.wait_until(f"the agent on {host} answers", answer) == "yes"

    def addresses(self, host):
        """--mgmt and --storage of a host as words."""
        entry = self.lab.host(host)
        return ["--mgmt", entry.address(), "--storage", entry.address("stor")]

    def init(self, host="host1", name="demo-cluster"):
        """Make the first host a cluster; may be repeated."""
        return self.change(host, "init", name, *self.addresses(host), "--allow-emulation")

    def join(self, host, through="host1", role=None):
        """Make a host a member; may be repeated."""
        words = ["--role", role] if role else []
        token = json.loads(self.change(through, "token", "create", *words, "--json"))["token"]
        return self.change(host, "join", self.lab.host(through).address(), "--token", token,
                           *self.addresses(host), *words)

    def form(self, first="host1"):
        """init and join for all hosts of the lab that are not members yet."""
        if not self.is_member(first):
            self.init(first)
        new = [entry for entry in self.lab.hosts() if entry.name != first and not self.is_member(entry.name)]
        for entry in new:
            self.join(entry.name, first, "witness" if entry.role == "witness" else None)
        if new:
            self.wait_told([entry.name for entry in self.lab.hosts()])

    def wait_told(self, hosts):
        """Until each of these hosts knows that all of them are members in good standing: it hears of the others' commits
        by a watch of its own, a moment after the command that made them has returned."""
        wanted = {host: "online" for host in hosts}
        for host in hosts:
            self.wait_until(f"{host} has heard of all members", lambda host=host: wanted.items() <= {
                h["name"]: h["state"] for h in self.show(host, "host", "ls")["items"]}.items())

    def create_pool(self, name="vms", host="host1", *words):
        """A pool on the hosts' data disks, unless it is there."""
        if name not in self.names(host, "pool"):
            self.change(host, "pool", "create", name, "--device", DATA_DISK, *words)

    def vm(self, name, host="host1"):
        """`vm show`."""
        return self.show(host, "vm", "show", name)

    def wait_heard(self, host, name, state="running"):
        """Until a host knows a VM in this state and no task that works on it: each agent hears of commits by its own
        watch, so what was done through another host may be news here, and be refused."""
        def has_heard():
            if name not in self.names(host, "vm") or self.vm(name, host)["state"] != state:
                return False
            return not any(task["state"] == "running" and task["object"] == name
                           for task in self.show(host, "task", "ls")["items"])
        self.wait_until(f"{host} has heard that {name} is {state}", has_heard)

    def wait_quorum(self, host, pool):
        """Until a host knows that a pool has quorum: what the others' bricks do they say themselves, a moment later."""
        self.wait_until(f"{host} sees the quorum of {pool}", lambda: self.show(host, "pool", "show", pool)["quorum"])

    # -- failover

    def form_with_failover(self):
        """form(), the pool "vms", and failover for it."""
        self.form()
        self.create_pool()
        self.mortar("host1", "pool", "ha", "vms")

    def is_healed(self, through="host1", pool="vms"):
        """Does every brick have all writes, as a host that answers knows it? While guests write, a
        brick may list a file of theirs for a moment: whoever wants this waits for it."""
        try:
            bricks = self.show(through, "pool", "show", pool)["bricks"]
        except (CommandFailed, LabError, ValueError):
            return False  # a store without a leader: asked again
        return all(brick["online"] and brick["heal_pending_files"] == 0 for brick in bricks)

    def is_whole(self, through="host3", pool="vms"):
        """Are all hosts in good standing, and is the pool healed?"""
        try:
            hosts = self.show(through, "host", "ls")["items"]
        except (CommandFailed, LabError, ValueError):
            return False
        return all(host["state"] == "online" for host in hosts) and self.is_healed(through, pool)

    def incarnations(self, host="host3"):
        """{host: (state, incarnation)}, as a host knows it: a fence changes it."""
        return {h["name"]: (h["state"], h["inc"]) for h in self.show(host, "host", "ls")["items"]}

    def admit_held(self, through="host3"):
        """As an administrator: let in the hosts that were fenced too often to come back by themselves."""
        try:
            for host in self.show(through, "host", "ls")["items"]:
                if host["held"]:
                    self.mortar(through, "host", "admit", host["name"])
        except (CommandFailed, LabError, ValueError):
            pass  # asked again

    def has_store(self, host):
        """Does this host's agent reach the store? What it shows besides may be of before."""
        try:
            return not any(alarm["object"] == "store" for alarm in self.show(host, "status")["alarms"])
        except (CommandFailed, LabError, ValueError):
            return False

    def is_frozen(self, host):
        """Has the guard told the kernel that the guests of a host stand still?"""
        return self.lab.exec(host, ["cat", FREEZE]).stdout.strip() == "1"

    def wait_whole(self, through="host3", within_s=240):
        """Until the next fault may come."""
        def is_whole():
            self.admit_held(through)
            return self.is_whole(through)
        self.wait_until("all hosts are online and the pool is whole", is_whole, within_s)
