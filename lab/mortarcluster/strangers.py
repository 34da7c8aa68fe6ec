# SPDX-License-Identifier: Apache-2.0
"""How much of the machine was used by others than a lab, and whether it stood still, so that a measurement knows
whether it is one.

All processes of a lab's hosts are in their cgroups, whose CPU time the kernel counts; what else kept
the processors busy, or was stolen by a hypervisor, are strangers. The kernel's own work for the lab (its loop
devices, its network) counts as theirs: on a machine with nothing else it is some percent.
"""

import os
import subprocess
import sys
import time

BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal: proc(5)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def machine_busy_s():
    """Seconds of processors that did anything, since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:]]
    return sum(ticks[i] for i in BUSY_FIELDS) / TICKS_PER_S


def lab_busy_s(lab):
    """Seconds of processors that the hosts of a lab took."""
    total = 0
    for host in lab.hosts():
        words = (host.cgroup / "cpu.stat").read_text(encoding="ascii").split()
        total += int(words[words.index("usage_usec") + 1])
    return total / 1e6


class Strangers:
    """with Strangers(lab) as strangers: …; strangers.share: of all processors, 0 to 1"""

    def __init__(self, lab):
        self.lab = lab
        self.share = None

    def _look(self):
        return time.monotonic(), machine_busy_s(), lab_busy_s(self.lab)

    def __enter__(self):
        self.before = self._look()
        return self

    def __exit__(self, *_):
        wall_s, machine_s, lab_s = (after - before for before, after in zip(self.before, self._look()))
        others_s = max(0.0, machine_s - lab_s)
        self.share = min(1.0, others_s / max(wall_s, 0.001) / os.cpu_count())


# As important to its processor as the guards are to theirs, until its standard input ends
WATCH = """
import os, select, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
except OSError:
    pass
print("looks", flush=True)
longest, last = 0, time.monotonic()
while not select.select([sys.stdin], [], [], 0.05)[0]:
    now = time.monotonic()
    longest, last = max(longest, now - last - 0.05), now
print(max(longest, time.monotonic() - last - 0.05))
"""


class Stalls:
    """with Stalls() as stalls: …; stalls.longest_s: so long a processor did nothing for a process that cannot wait"""

    def __init__(self):
        self.children = []
        self.longest_s = None

    def __enter__(self):
        for processor in sorted(os.sched_getaffinity(0)):
            self.children.append(subprocess.Popen([sys.executable, "-c", WATCH, str(processor)], text=True,
                                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        for child in self.children:
            child.stdout.readline()
        return self

    def __exit__(self, *_):
        self.longest_s = max(float(child.communicate()[0] or 0) for child in self.children)
