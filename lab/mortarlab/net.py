# SPDX-License-Identifier: Apache-2.0
"""The lab's switches and cables.

One network namespace per lab holds two bridges, `mgmt` and `stor`; one per host holds mgmt0 and
stor0, veth links to them. With uplinks there are also `wan`, the outside, and wan0. The machine's own namespace gets no link, address, route or rule, so
labs cannot meet each other or the machine. Switch ports are m-HOST and s-HOST. What is cut is one
nft table in the bridge family, always written whole from the plan.
"""

import ipaddress
import json
import zlib

from . import state
from .command import LabError, run

NETS = ("mgmt", "stor")
WAN = "wan"
ALL_NETS = (*NETS, WAN)
NET_NAMES = {"mgmt": "mgmt", "storage": "stor"}
SLOTS = 128
LAB_SIDE = 254


def nets_of(plan):
    """The networks that a lab has."""
    return ALL_NETS if plan.get("uplinks") else NETS


def lab_ns(lab):
    """The namespace of the lab's switches."""
    return f"mlab.{lab}"


def host_ns(lab, host):
    """The namespace of one host; names have no dots, so labs cannot be mixed up."""
    return f"mlab.{lab}.{host}"


def port(net, host):
    """The switch port a host's cable is in."""
    return f"{net[0]}-{host}"


def subnet(slot, net):
    """The /24 of a network."""
    if net == WAN:
        return ipaddress.ip_network(f"10.78.{slot}.0/24")
    return ipaddress.ip_network(f"10.77.{2 * slot + NETS.index(net)}.0/24")


def address(slot, net, index):
    """The address of host number index (from 1)."""
    return str(subnet(slot, net)[10 + index])


def mac(slot, net, index):
    """Stable over reboots, as a card's is."""
    return f"02:4d:6f:{slot:02x}:{ALL_NETS.index(net):02x}:{index:02x}"


def choose_slot(lab):
    """A pair of subnets for a lab: by its name, the next free one when that is taken.

    Nothing can leak between namespaces; different numbers keep people and logs from mixing labs
    up. Call with the machine's lock held.
    """
    taken = {plan["slot"] for name in state.list_labs() if (plan := state.load(name))}
    routes = json.loads(run(["ip", "-json", "-4", "route"]).stdout or "[]")
    used = [
        ipaddress.ip_network(r["dst"], strict=False) for r in routes if r.get("dst") != "default"
    ]
    first = zlib.crc32(lab.encode()) % SLOTS
    for step in range(SLOTS):
        slot = (first + step) % SLOTS
        if slot not in taken and not any(
                subnet(slot, n).overlaps(u) for n in ALL_NETS for u in used):
            return slot
    raise LabError("no subnet of 10.77.0.0/16 is free on this machine")


def list_ns():
    """All named network namespaces."""
    return [line.split()[0] for line in run(["ip", "netns", "list"]).stdout.splitlines() if line]


def batch(namespace, commands):
    """Several ip commands in one namespace and one process."""
    run(["ip", "-netns", namespace, "-batch", "-"], text_in="\n".join(commands) + "\n")


def make_lab(lab, slot, nets=NETS):
    """The switches, unless they are there; half-made ones are made anew, nothing hangs on them."""
    namespace = lab_ns(lab)
    if namespace in list_ns():
        shown = run(["ip", "-netns", namespace, "-brief", "address", "show", "up"]).stdout
        if all(f" {subnet(slot, net)[LAB_SIDE]}/24" in shown for net in nets):
            return
        run(["ip", "netns", "del", namespace])
    run(["ip", "netns", "add", namespace])
    commands = ["link set lo up"]
    for net in nets:
        commands += [
            f"link add name {net} type bridge forward_delay 0",
            f"address add {subnet(slot, net)[LAB_SIDE]}/24 dev {net}",
            f"link set {net} up",
        ]
    batch(namespace, commands)


def make_host(lab, slot, host, index, nets=NETS):
    """A host's cards, fresh as after power-on: nothing of an earlier boot stays."""
    remove_host(lab, host)
    namespace = host_ns(lab, host)
    run(["ip", "netns", "add", namespace])
    commands = []
    for net in nets:
        card = f"{net}0"
        commands += [
            f"link add name {port(net, host)} type veth "
            f"peer name {card} address {mac(slot, net, index)} netns {namespace}",
            f"link set {port(net, host)} master {net} up",
        ]
    batch(lab_ns(lab), commands)
    commands = ["link set lo up"]
    for net in nets:
        commands += [
            f"address add {address(slot, net, index)}/24 dev {net}0",
            f"link set {net}0 up",
        ]
    batch(namespace, commands)


def remove_host(lab, host):
    """A host's cables and namespace, whatever of them exists."""
    namespaces = list_ns()
    if lab_ns(lab) in namespaces:
        for net in ALL_NETS:
            run(["ip", "-netns", lab_ns(lab), "link", "del", port(net, host)], check=False)
    if host_ns(lab, host) in namespaces:
        run(["ip", "netns", "del", host_ns(lab, host)])


def remove_lab(lab):
    """All namespaces of a lab, by name."""
    for namespace in list_ns():
        if namespace == lab_ns(lab) or namespace.startswith(lab_ns(lab) + "."):
            run(["ip", "netns", "del", namespace])


def rules(cuts, isolated):
    """The nft table for a list of cuts and of hosts without any link.

    A cut is [net, host, other]; other "*" is everybody. Dropping is silent, as a dead cable is:
    no carrier change, no reset.
    """
    forward = []
    local = []
    pairs = [tuple(cut) for cut in cuts] + [(net, host, "*") for host in isolated
                                          for net in ALL_NETS]
    for net, host, other in sorted(set(pairs)):
        one = f'"{port(net, host)}"'
        if other == "*":
            forward += [f"iifname {one} drop", f"oifname {one} drop"]
            local += [("input", f"iifname {one} drop"), ("output", f"oifname {one} drop")]
        else:
            two = f'"{port(net, other)}"'
            forward += [f"iifname {one} oifname {two} drop", f"iifname {two} oifname {one} drop"]
    chains = {"forward": forward}
    for hook in ("input", "output"):
        chains[hook] = [rule for name, rule in local if name == hook]
    lines = ["table bridge mortarlab", "delete table bridge mortarlab", "table bridge mortarlab {"]
    for hook, body in chains.items():
        lines += [f"chain {hook} {{", f"type filter hook {hook} priority 0; policy accept"]
        lines += body + ["}"]
    return "\n".join(lines + ["}"]) + "\n"


def apply_rules(lab, cuts, isolated):
    """Make the switches drop exactly what the plan says."""
    run(["ip", "netns", "exec", lab_ns(lab), "nft", "-f", "-"], text_in=rules(cuts, isolated))
