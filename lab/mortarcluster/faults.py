# SPDX-License-Identifier: Apache-2.0
"""Ways in which a host of a lab fails, and how each is mended: for bench, tests and soak."""

import contextlib

HOSTS = ("host1", "host2", "host3")  # the third has only a small disk
DATA_HOSTS = HOSTS[:2]
NETWORKS = ("storage", "mgmt")
ETCDCTL = ("cd /etc/mortar/pki && ETCDCTL_API=3 etcdctl --cacert ca.crt --cert host.crt --key host.key "
           "--endpoints https://{}:2379 ")


def other(host):
    """The other data host."""
    return "host2" if host == "host1" else "host1"


def cut_cables(lab, host):
    """All networks; the host itself goes on."""
    for network in NETWORKS:
        lab.partition(host, None, network)


def kill_daemon(lab, host, daemon):
    """SIGKILL; systemd starts it again."""
    lab.exec(host, ["systemctl", "kill", "-s", "KILL", daemon], check=False)


def lead_store(cluster, host):
    """Make this host's etcd the leader."""
    def etcdctl(at, words):
        return cluster.lab.exec(at, ["sh", "-c", ETCDCTL.format(cluster.lab.host(at).address("mgmt")) + words],
                                check=False).stdout

    def status(at):  # "ENDPOINT, ID, VERSION, SIZE, IS LEADER, …"
        fields = etcdctl(at, "endpoint status").split(", ")
        return (fields[1], fields[4] == "true") if len(fields) > 4 else (None, False)

    def leads():
        wanted, is_leader = status(host)
        if not is_leader:
            for at in HOSTS:
                if status(at)[1]:
                    etcdctl(at, f"move-leader {wanted}")
        return status(host)[1]
    cluster.wait_until(f"{host} leads the store", leads)


START_DAEMONS = """test -e /etc/mortar/host.json || exit 0
systemctl unmask -q --runtime mortard mortar-guard
systemctl start --no-block etcd mortar-guard mortard mortar-api"""


def mend_all(lab):
    """What a test that failed half-way may have left: cuts, hosts that hang or are off, daemons that are stopped. Hosts
    of a cluster do not get up one by one, so nobody is waited for."""
    lab.heal()
    for host in lab.hosts():
        with contextlib.suppress(Exception):  # one that is beyond help keeps nobody else down
            state = host.state()
            if state == "off":
                lab.boot(host.name, deadline_s=0)
            elif state == "hung":
                lab.resume(host.name)
            else:
                lab.exec(host.name, ["sh", "-c", START_DAEMONS], check=False)


def recover(cluster, guest, through="host3"):
    """Before a test that wants a whole cluster with failover and its guest running: one failure stays one."""
    if cluster.is_hurt:
        cluster.wait_whole(through)
        cluster.is_hurt = False
    if guest.seen(through)["state"] == "stopped":
        cluster.mortar(through, "vm", "start", guest.name)


# name → (break, mend), each with (lab, host)
FAULTS = {
    "power": (lambda lab, host: lab.cut(host), lambda lab, host: lab.boot(host)),
    # All processes stand, and the kernel is mute.
    "hang": (lambda lab, host: lab.hang(host, cut_links=True), lambda lab, host: lab.resume(host)),
    "network": (cut_cables, lambda lab, host: lab.heal()),
    # All processes stand, the kernel still acknowledges TCP.
    "stopped": (lambda lab, host: lab.hang(host), lambda lab, host: lab.resume(host)),
}
