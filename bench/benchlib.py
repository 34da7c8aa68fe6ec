# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: rows of JSON, percentiles, and a lab with a cluster and a guest."""

import json
import math
import os
import pathlib
import statistics
import sys

TREE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE / "lab"))

from mortarcluster import Cluster, Guest  # noqa: E402  (the path must come first)
from mortarcluster import guest as guest_module  # noqa: E402
from mortarlab import Lab, find_capabilities  # noqa: E402

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
TIMED = 'b=$(date +%s%N); "$@" >&2; c=$?; echo $(($(date +%s%N) - b)); exit $c'


def emit(bench, **values):
    """One measurement as one line."""
    print(json.dumps({"bench": bench, **values}), flush=True)


def judge(bench, what, value, limit, unit):
    """One line of the summary; True when the target is met."""
    met = value <= limit
    emit(bench, summary=what, value=round(value, 3), limit=limit, unit=unit, met=met)
    return met


def parse_args(parser, bench):
    """What the caller wants; and, before anything else is done, what this machine can do, in one line."""
    args = parser.parse_args()
    emit(bench, capabilities={name: entry["value"] for name, entry in find_capabilities().items()})
    return args


def describe(bench):
    """The machine during the run: without it the numbers mean nothing."""
    emit(bench, cores=os.cpu_count(), load=[round(x, 1) for x in os.getloadavg()],
         kvm=find_capabilities()["kvm"]["value"])


def steal_share():
    """A function that says which part of the processors' time a hypervisor took since now, 0 to 1."""
    def look():
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        return int(words[7]), sum(int(word) for word in words)

    before = look()

    def share():
        stolen, total = (b - a for a, b in zip(before, look()))
        return stolen / max(total, 1)

    return share


def percentile(values, percent):
    """Nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def median(values):
    """Of a list that is not empty."""
    return statistics.median(values)


def timed_ms(lab, host, argv, timeout=300):
    """Wall time of a command inside a host, without what entering the host costs."""
    done = lab.exec(host, ["sh", "-c", TIMED, "timed", *argv], timeout=timeout)
    return int(done.stdout.split()[-1]) / 1e6


def ready_cluster(name, debs):
    """A lab whose hosts form a cluster with the pool 'vms'; what is there already stays."""
    lab = Lab(name)
    lab.up(hosts=3, debs=debs)
    cluster = Cluster(lab)
    cluster.form()
    cluster.create_pool()
    return cluster


def ready_guest(cluster):
    """The demo guest, running in the cluster."""
    guest = Guest(cluster)
    guest.put_files(guest_module.build(), "host1")
    if guest.name not in cluster.names("host1", "vm"):
        guest.create()
    elif guest.seen()["state"] != "running":
        cluster.change("host1", "vm", "start", guest.name)
    for host in ("host1", "host3"):  # through which the benchmarks ask
        cluster.wait_heard(host, guest.name)
    return guest
