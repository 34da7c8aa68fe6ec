# SPDX-License-Identifier: Apache-2.0
"""What the cluster says of itself while hosts are off is true: bricks, quorum, hosts, alarms.

One lab; the tests build on each other, in the order written.
"""

import json
import time

import pytest

from mortarcluster import Cluster

REFUSED = 4  # exit code, mortar(1)


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """Two data hosts and a witness, with a mirrored pool."""
    cluster = Cluster(make_lab(hosts=3, disk_size="2G", debs=debs_dir))
    cluster.form()
    cluster.create_pool()
    return cluster


def pool(cluster, host="host1"):
    """(hosts whose brick is online, quorum) as `mortar pool show` says."""
    shown = cluster.show(host, "pool", "show", "vms")
    return [b["host"] for b in shown["bricks"] if b["online"]], shown["quorum"]


def alarms(cluster, host="host1"):
    """{(severity, object, text)} of `mortar status`."""
    shown = cluster.show(host, "status")
    assert all(alarm["since"] for alarm in shown["alarms"]), shown["alarms"]
    return {(a["severity"], a["object"], a["text"]) for a in shown["alarms"]}


def test_all_is_well_at_first(cluster):
    cluster.wait_until("all bricks", lambda: pool(cluster) == (["host1", "host2", "host3"], True))
    cluster.wait_until("no alarm", lambda: not alarms(cluster))


def test_a_host_without_power_has_no_brick_and_an_alarm(cluster):
    cluster.lab.cut("host2")
    begun = time.monotonic()
    cluster.wait_until("two bricks", lambda: pool(cluster) == (["host1", "host3"], True))
    print(f"seen after {time.monotonic() - begun:.1f} s")
    cluster.wait_until("the witness agrees",
                       lambda: pool(cluster, "host3") == (["host1", "host3"], True))
    # The brick is missed by the mount, too, which may be before the host is.
    wanted = {"host1": "online", "host2": "silent", "host3": "online"}
    cluster.wait_until("the host is silent", lambda: {
        h["name"]: h["state"] for h in cluster.show("host1", "host", "ls")["items"]} == wanted)
    cluster.wait_until("there is an alarm of the brick", lambda: (
        "warning", "vms", "the brick on host2 is offline") in alarms(cluster))
    cluster.wait_until("there is an alarm of the host", lambda: any(
        severity == "error" and about == "host2" for severity, about, _ in alarms(cluster)))


def test_nothing_is_put_on_it(cluster):
    done = cluster.answer("host1", "pool", "create", "more", "--hosts", "host1,host2", "--brick",
                          "/data/gluster/more", "--force")
    assert done.returncode == REFUSED, done.stderr
    assert "host 'host2' is silent" in done.stderr
    assert "\nhint: " in done.stderr


def test_with_one_brick_left_there_is_no_quorum(cluster):
    cluster.lab.cut("host3")
    cluster.wait_until("one brick", lambda: pool(cluster) == (["host1"], False))
    cluster.wait_until("there is an alarm", lambda: any(
        severity == "error" and about == "vms" for severity, about, _ in alarms(cluster)))


def test_after_their_return_all_is_well_again(cluster):
    cluster.lab.boot("host2")
    cluster.lab.boot("host3")
    cluster.wait_until("all bricks", lambda: pool(cluster) == (["host1", "host2", "host3"], True), 240)
    cluster.wait_until("no alarm", lambda: not alarms(cluster), 240)
