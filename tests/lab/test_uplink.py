# SPDX-License-Identifier: Apache-2.0
"""Uplinks: a network card under the guests' network, on trial until it is confirmed.

Two hosts, each with a card wan0 to the outside. The tests build on each other, in the order written.
Guests are veth links in the bridge here: what carries a frame of theirs carries a machine's.
"""

import json
import re

import pytest

from mortarcluster import Cluster
from mortarcluster.session import connect_inside
from mortarlab import net
from mortarlab.command import run

TRIAL_S = 30  # so long a look at it may take
SSH, PORT_OF_NOBODY = 22, 9


@pytest.fixture(scope="module")
def cluster(make_lab, debs_dir):
    """No cluster yet."""
    return Cluster(make_lab(hosts=2, disk_size="2G", witness=False, uplinks=True, debs=debs_dir))


def sh(cluster, host, script, check=True):
    """What a shell in a host prints."""
    return cluster.lab.exec(host, ["sh", "-c", script], check=check).stdout.strip()


def addresses(cluster, host, link):
    """Global addresses of a link, without prefix length; None when there is no such link."""
    shown = cluster.lab.exec(host, ["ip", "-j", "addr", "show", "dev", link], check=False)
    if shown.returncode != 0:
        return None
    infos = [a for entry in json.loads(shown.stdout) for a in entry.get("addr_info", [])]
    return [a["local"] for a in infos if a["scope"] == "global"]


def outside(cluster, network="wan"):
    """The address of the lab itself in a network."""
    return str(net.subnet(cluster.lab.host("host1").plan["slot"], network)[net.LAB_SIDE])


def uplinks(cluster, host="host1"):
    """{host: confirmed} as the cluster shows it."""
    networks = cluster.show(host, "network", "ls")["items"]
    return {up["host"]: up["confirmed"] for up in networks[0]["uplinks"]}


def alarms(cluster, about, host="host1"):
    """Texts of the alarms about a host."""
    return [a["text"] for a in cluster.show(host, "status")["alarms"] if a["object"] == about]


def plug_guest(cluster, host, network, number):
    """A namespace with one veth link in the host's bridge and an address of a network; its name."""
    guest = f"{net.lab_ns(cluster.lab.name)}.g{number}"  # the lab's down removes it by its name
    space = net.host_ns(cluster.lab.name, host)
    run(["ip", "netns", "add", guest])
    run(["ip", "-netns", space, "link", "add", f"g{number}", "type", "veth", "peer", "name", "eth0",
         "netns", guest])
    run(["ip", "-netns", space, "link", "set", f"g{number}", "master", "mortar0", "up"])
    subnet = net.subnet(cluster.lab.host(host).plan["slot"], network)
    run(["ip", "-netns", guest, "addr", "add", f"{subnet[200 + number]}/24", "dev", "eth0"])
    run(["ip", "-netns", guest, "link", "set", "eth0", "up"])
    return guest


def reaches(namespace, address):
    """Does an IP packet get there and back? The refusal of a connection is an answer, too."""
    try:
        connect_inside(namespace, (address, PORT_OF_NOBODY), 20).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def refused(cluster, host, *words, says):
    """The command fails, says why, and says what to do."""
    done = cluster.answer(host, *words)
    assert done.returncode != 0 and re.search(says, done.stderr), (words, done.stdout, done.stderr)
    assert "\nhint: " in done.stderr, (words, done.stderr)


def test_init_refuses_cards_that_cannot_be_it_before_anything_is_made(cluster):
    cluster.is_member("host1")  # waits for the agent
    words = ["init", "up", *cluster.addresses("host1"), "--allow-emulation", "--uplink"]
    refused(cluster, "host1", *words, "eth9", says="no network card 'eth9'")
    refused(cluster, "host1", *words, "lo", says="loopback")
    refused(cluster, "host1", *words, "stor0", says="storage network")
    refused(cluster, "host1", *words, "wan0", "--role", "storage", says="no guests")
    sh(cluster, "host1", "ip addr change 10.98.0.2/24 dev wan0 valid_lft 500 preferred_lft 400")
    refused(cluster, "host1", *words, "wan0", says="10.98.0.2 from DHCP")
    sh(cluster, "host1", "ip addr del 10.98.0.2/24 dev wan0; mkdir -p /etc/network/interfaces.d; printf 'iface wan0 inet dhcp\\n'"
                         " > /etc/network/interfaces.d/wan0")
    refused(cluster, "host1", *words, "wan0", says="from DHCP")
    sh(cluster, "host1", "rm -r /etc/network")
    assert not cluster.is_member("host1")
    assert addresses(cluster, "host1", "mortar0") is None


def test_init_with_an_uplink_leads_guests_outside_once_confirmed(cluster):
    own = cluster.lab.host("host1").address("wan")
    sh(cluster, "host1", f"ip route add 10.97.0.0/16 via {outside(cluster)}")
    said = cluster.mortar("host1", "init", "up", *cluster.addresses("host1"), "--allow-emulation",
                          "--uplink", "wan0", "--uplink-confirm", "300").stdout
    assert "mortar uplink confirm" in said
    assert addresses(cluster, "host1", "wan0") == []
    assert addresses(cluster, "host1", "mortar0") == [own]
    assert "dev mortar0" in sh(cluster, "host1", "ip route show 10.97.0.0/16")
    assert addresses(cluster, "host1", "mortar0-vx") is None
    assert uplinks(cluster) == {"host1": False}
    assert any("mortar uplink confirm" in text for text in alarms(cluster, "host1"))
    cluster.mortar("host1", "uplink", "confirm")
    assert uplinks(cluster) == {"host1": True}
    cluster.wait_until("there is no alarm any more", lambda: alarms(cluster, "host1") == [])
    assert cluster.show("host1", "network", "ls")["items"][0]["outside"] is None
    assert sh(cluster, "host1", "systemctl is-active mortar-uplink-return.timer", False) != "active"
    guest = plug_guest(cluster, "host1", "wan", 1)
    assert reaches(guest, outside(cluster))
    assert reaches(net.lab_ns(cluster.lab.name), own), "the host itself is still reached there"


def test_a_host_without_uplink_is_named(cluster):
    cluster.join("host2")
    text = cluster.wait_until("status names host2",
                              lambda: cluster.show("host1", "network", "ls")["items"][0]["outside"])
    assert "no uplink on host2" in text
    # Its tunnel leads to nobody: no loop by way of host1.
    cluster.wait_until("host2 has a tunnel", lambda: addresses(cluster, "host2", "mortar0-vx") == [])
    cluster.wait_until("which floods to no host with an uplink", lambda: sh(
        cluster, "host2", "bridge fdb show dev mortar0-vx | grep -c ' dst '", False) == "0")
    assert addresses(cluster, "host1", "mortar0-vx") is None


def set_uplink(cluster, host, nic, seconds):
    """On trial, and seen so."""
    cluster.mortar(host, "uplink", "set", nic, "--confirm", seconds)
    assert addresses(cluster, host, nic) == []


def wait_returned(cluster, host, nic, address):
    """Until the card, and nothing else, has its address again."""
    cluster.wait_until(f"{nic} of {host} is given back", lambda: (
        addresses(cluster, host, nic) == [address] and addresses(cluster, host, "mortar0") == []))


def test_what_nobody_confirms_is_undone_and_said(cluster):
    own = cluster.lab.host("host2").address("wan")
    set_uplink(cluster, "host2", "wan0", TRIAL_S)
    assert addresses(cluster, "host2", "mortar0") == [own]
    wait_returned(cluster, "host2", "wan0", own)
    cluster.wait_until("status says why", lambda: any(
        "not confirmed" in text for text in alarms(cluster, "host2")))
    cluster.wait_until("the tunnel is back",
                       lambda: addresses(cluster, "host2", "mortar0-vx") is not None)
    refused(cluster, "host2", "uplink", "confirm", says=f"not confirmed within {TRIAL_S} s")
    assert reaches(net.lab_ns(cluster.lab.name), own)


def test_the_death_of_the_agent_does_not_keep_it_from_being_undone(cluster):
    own = cluster.lab.host("host2").address("wan")
    set_uplink(cluster, "host2", "wan0", TRIAL_S)
    sh(cluster, "host2", "systemctl kill --signal=KILL --kill-whom=main mortard;"
                         " systemctl stop mortard")
    try:
        wait_returned(cluster, "host2", "wan0", own)
    finally:
        sh(cluster, "host2", "systemctl start mortard")
    cluster.wait_until("the agent answers", lambda: cluster.is_member("host2"))


def test_a_reboot_undoes_a_trial(cluster):
    own = cluster.lab.host("host2").address("wan")
    set_uplink(cluster, "host2", "wan0", 600)
    cluster.lab.cut("host2")
    cluster.lab.boot("host2")
    cluster.wait_until("the agent answers", lambda: cluster.is_member("host2"))
    assert addresses(cluster, "host2", "wan0") == [own]
    cluster.wait_until("only host1 has one", lambda: uplinks(cluster) == {"host1": True})


def test_the_card_that_carries_the_session_moves_under_it(cluster):
    """The case of a user who works by ssh over the only card: connections go on."""
    own = cluster.lab.host("host2").address()
    space = net.lab_ns(cluster.lab.name)
    script = "ss -Htn state established '( dport = :2379 or dport = :24007 )' | awk '{print $3, $4}'"
    before = set(sh(cluster, "host2", script).splitlines())
    with connect_inside(space, (own, SSH), 60) as session:
        assert session.recv(64).startswith(b"SSH-2.0")
        set_uplink(cluster, "host2", "mgmt0", 300)
        assert addresses(cluster, "host2", "mortar0") == [own]
        session.sendall(b"SSH-2.0-mortar_test\r\n")
        assert len(session.recv(64)) > 0, "sshd goes on with the key exchange"
    after = set(sh(cluster, "host2", script).splitlines())
    assert before and before & after, (before, after)
    cluster.mortar("host2", "uplink", "confirm")
    cluster.wait_until("both have one", lambda: uplinks(cluster) == {"host1": True, "host2": True})
    assert reaches(plug_guest(cluster, "host2", "mgmt", 2), outside(cluster, "mgmt"))
    assert cluster.show("host2", "network", "ls")["items"][0]["outside"] is None


def test_a_confirmed_uplink_is_there_after_a_reboot(cluster):
    own = cluster.lab.host("host2").address()
    cluster.lab.cut("host2")
    cluster.lab.boot("host2")
    assert addresses(cluster, "host2", "mortar0") == [own], "before the agent has met the cluster"
    assert addresses(cluster, "host2", "mgmt0") == []
    cluster.wait_until("the agent answers", lambda: cluster.is_member("host2"))
    cluster.wait_until("both have one", lambda: uplinks(cluster) == {"host1": True, "host2": True})


def test_rm_gives_the_card_back(cluster):
    own = cluster.lab.host("host2").address()
    refused(cluster, "host2", "uplink", "set", "wan0", says="uplink is 'mgmt0' already")
    cluster.mortar("host2", "uplink", "rm")
    assert addresses(cluster, "host2", "mgmt0") == [own]
    cluster.wait_until("host1's alone is left", lambda: uplinks(cluster) == {"host1": True})
    cluster.wait_until("the tunnel is back",
                       lambda: addresses(cluster, "host2", "mortar0-vx") is not None)


def test_a_host_that_leaves_has_its_cards_as_before(cluster):
    host2 = cluster.lab.host("host2")
    set_uplink(cluster, "host2", "wan0", 300)
    cluster.mortar("host2", "uplink", "confirm")
    cluster.mortar("host2", "leave")
    assert addresses(cluster, "host2", "wan0") == [host2.address("wan")]
    assert addresses(cluster, "host2", "mortar0") is None
    assert sh(cluster, "host2", "ls /var/lib/mortar/uplink.json /run/mortar/uplink.json", False) == ""


def test_purging_the_package_gives_the_card_back(cluster):
    own = cluster.lab.host("host1").address("wan")
    sh(cluster, "host1", "dpkg --purge mortar")
    assert addresses(cluster, "host1", "wan0") == [own]
    assert "dev wan0" in sh(cluster, "host1", "ip route show 10.97.0.0/16")
    assert sh(cluster, "host1", "ls -d /var/lib/mortar /run/mortar/uplink.json", False) == ""
