# SPDX-License-Identifier: Apache-2.0
"""Ways in which a host of a lab fails, and how each is mended: for bench, tests and soak."""

DATA_HOSTS = ("host1", "host2")
NETWORKS = ("storage", "mgmt")


def other(host):
    """The other data host."""
    return "host2" if host == "host1" else "host1"


def cut_cables(lab, host):
    """All networks; the host itself goes on."""
    for network in NETWORKS:
        lab.partition(host, None, network)


# name → (break, mend), each with (lab, host)
FAULTS = {
    "power": (lambda lab, host: lab.cut(host), lambda lab, host: lab.boot(host)),
    # All processes stand, and the kernel is mute.
    "hang": (lambda lab, host: lab.hang(host, cut_links=True), lambda lab, host: lab.resume(host)),
    "network": (cut_cables, lambda lab, host: lab.heal()),
    # All processes stand, the kernel still acknowledges TCP.
    "stopped": (lambda lab, host: lab.hang(host), lambda lab, host: lab.resume(host)),
}
