# SPDX-License-Identifier: Apache-2.0
"""What became true when in a failover, from the flight records of the hosts that lived through it.

A record has each event that a core was fed, stamped by CLOCK_BOOTTIME, which all hosts of a lab share. The
earliest stamp over all hosts counts; nobody is asked anything while the failover runs.
"""

import json
import pathlib
import time

from mortarlab import cgroup

DIRECTORY = "var/lib/mortar/record"
FILES = ("events.jsonl.1", "events.jsonl")  # the older one first
RECORDS = "/mortar/v1/"
# In this order; the words are for people.
STEPS = {
    "silent": "two hosts have heard nothing of it for the time of detection",
    "fencing": "they agree on it by a commit: it is fenced",
    "cut": "every brick has cut it off",
    "fenced": "every brick has drained, its promises are over",
    "owned": "the VM has a new owner",
    "claimed": "the owner has claimed its start",
    "clean": "nothing of the old instance can turn up any more",
    "qemu": "its QEMU runs there",
}
REPORTS_NEEDED = 2  # of src/core/ha/ha_nodes.c


def boottime_us():
    """The clock of the records."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def read_record(lab, host, since_us):
    """The steps of a host's core since then, oldest first."""
    leader = cgroup.leader(lab.host(host).cgroup)
    found = []
    for name in FILES:
        path = pathlib.Path(f"/proc/{leader}/root/{DIRECTORY}/{name}")
        if leader is None or not path.exists():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                step = json.loads(line)
            except ValueError:
                continue  # the line that is just being written
            if step.get("now_us", 0) >= since_us:
                found.append(step)
    return found


def puts_of(event):
    """(key, value) of all records that an event brings."""
    for holder in (event, event.get("store") or {}):
        for key, _, value in holder.get("puts") or []:
            yield key.removeprefix(RECORDS), value


class Reader:
    """Finds the steps in one record after the other."""

    def __init__(self, vm, lost):
        self.vm, self.lost = vm, lost
        self.at_us = {}
        self.reports, self.marks, self.actions = {}, {}, {}

    def note(self, step, now_us):
        """The earliest of all records counts."""
        self.at_us[step] = min(now_us, self.at_us.get(step, now_us))

    def read(self, steps):
        """One record."""
        for step in steps:
            now_us = step["now_us"]
            for action in step.get("actions", []):
                if action.get("args", {}).get("name") == self.vm:
                    self.actions[action["id"]] = action["do"]
            event = step.get("event", {})
            for key, value in puts_of(event):
                self.put(key, value, now_us)
            if event.get("ev") == "done" and "error" not in event:
                self.done(event["id"], now_us)

    def put(self, key, value, now_us):
        """A record of the store was seen."""
        if key == f"node/{self.lost}" and value["state"] in ("fencing", "fenced"):
            self.note(value["state"], now_us)
        elif key == f"vm/{self.vm}/own" and value["owner"] != self.lost:
            self.note("owned", now_us)
        elif key == f"vm/{self.vm}/act" and "owned" in self.at_us and value["state"] == "starting":
            self.note("claimed", now_us)
        elif key.startswith("silent/") and self.lost in value["hosts"]:
            self.reports[key] = min(now_us, self.reports.get(key, now_us))
        elif key.startswith(f"cut/{self.lost}/"):
            self.marks[key] = min(now_us, self.marks.get(key, now_us))

    def done(self, action, now_us):
        """An action of the new owner for the VM has succeeded."""
        step = {"vm.clean": "clean", "vm.create": "qemu"}.get(self.actions.get(action))
        if step and "owned" in self.at_us:
            self.note(step, now_us)

    def finish(self):
        """{step: BOOTTIME}, as far as it went."""
        if len(self.reports) >= REPORTS_NEEDED:
            self.at_us["silent"] = sorted(self.reports.values())[REPORTS_NEEDED - 1]
        if self.marks:
            self.at_us["cut"] = max(self.marks.values())
        return self.at_us


class TimeLine:
    """line = TimeLine(lab, "demo", "host1"); lab.cut("host1"); …; line.seconds()"""

    def __init__(self, lab, vm, lost):
        self.lab, self.vm, self.lost = lab, vm, lost
        self.began = time.monotonic()
        self.began_us = boottime_us()

    def seconds(self):
        """{step: seconds since the fault}, in the order of STEPS; what was not seen is left out."""
        reader = Reader(self.vm, self.lost)
        for host in self.lab.hosts():
            if host.name != self.lost:
                reader.read(read_record(self.lab, host.name, self.began_us))
        at_us = reader.finish()
        return {step: (at_us[step] - self.began_us) / 1e6 for step in STEPS if step in at_us}
