# SPDX-License-Identifier: Apache-2.0
"""What this machine can do for a lab, found out by trying; tests skip by this table."""

import functools
import os
import pathlib
import re

from . import cgroup
from .command import LabError, run

# Each is tried in a network namespace that vanishes with the command.
NETWORK_TRIALS = {
    "bridge_filter": "nft add table bridge trial",
    "netem": "tc qdisc add dev lo root netem delay 1ms",
    "vlan": "ip link add link lo name trial type vlan id 5",
    "vxlan": "ip link add name trial type vxlan id 5 dstport 4789",
}
# Without these no lab can be made.
REQUIRED = ("root", "cgroup2", "overlayfs", "loop", "bridge_filter")
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "losetup": "mount",
    "nsenter": "util-linux",
}


def has_filesystem(name):
    """Is a file system known to the kernel, or a module that can be loaded?"""
    if re.search(rf"\b{name}$", pathlib.Path("/proc/filesystems").read_text(), re.MULTILINE):
        return True
    try:
        return run(["modprobe", "--quiet", "--dry-run", name], check=False).returncode == 0
    except LabError:
        return False  # no modprobe, no modules


def can_slow_disks():
    """Would cgroup.limit_disk() find its means?"""
    controllers = (cgroup.unified_root() / "cgroup.controllers").read_text().split()
    blkio = cgroup.mounts().get("blkio")
    throttle = blkio and (blkio / "blkio.throttle.read_iops_device").exists()
    return "io" in controllers or bool(throttle and cgroup.way() == "own")


@functools.cache
def find_capabilities():
    """{name: {"value": …, "note": …}} in the order to print."""
    table = {}

    def put(name, value, note):
        table[name] = {"value": value, "note": note}

    put("root", os.geteuid() == 0, "the lab makes namespaces, cgroups and loop devices")
    try:
        unified = cgroup.unified_root()
        controllers = (unified / "cgroup.controllers").read_text().split()
        put("cgroup2", True, f"at {unified}")
        put("host_way", cgroup.way(), "scope: under systemd; own: cgroups made by the lab itself")
        put("delegated_cgroup", controllers, "libvirt needs one, or it ignores <partition>")
        put("slow_disk", can_slow_disks(), "by the io controller or blkio.throttle")
    except LabError as error:
        put("cgroup2", False, str(error))
    put("overlayfs", has_filesystem("overlay"), "roots of hosts")
    put("xfs", has_filesystem("xfs"), "bricks")
    put("loop", os.path.exists("/dev/loop-control"), "data disks")
    put("fuse", os.path.exists("/dev/fuse"), "mounts of pools")
    put("tun", os.path.exists("/dev/net/tun"), "network cards of guests")
    flags = re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    virt = {"vmx", "svm"} & set(flags[1].split() if flags else [])
    put("kvm", bool(virt) and os.path.exists("/dev/kvm"),
        "CPU flags and /dev/kvm; without it guests are emulated (TCG)")
    put("vhost_vsock", os.path.exists("/dev/vhost-vsock"), "never required")
    put("watchdog", os.path.exists("/dev/watchdog"), "else the guard's watchdog is faked")
    for name, trial in NETWORK_TRIALS.items():
        try:
            done = run(["unshare", "--net"] + trial.split(), check=False)
            put(name, done.returncode == 0, trial.replace(" trial", ""))
        except LabError as error:
            put(name, False, str(error))
    return table


def missing_tools():
    """Debian packages of tools that are not installed."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".split(":")
    return sorted(
        {
            package
            for tool, package in TOOLS.items()
            if not any(os.access(f"{directory}/{tool}", os.X_OK) for directory in path)
        }
    )


def require(table):
    """LabError when the machine cannot have a lab at all."""
    lacking = [name for name in REQUIRED if not table.get(name, {}).get("value")]
    if lacking:
        reasons = "; ".join(f"{name}: {table[name]['note']}" for name in lacking if name in table)
        raise LabError(f"no lab on this machine, it lacks {', '.join(lacking)} ({reasons})")


def require_tools():
    """LabError with the command to type when tools are missing."""
    packages = missing_tools()
    if packages:
        raise LabError("tools are missing", f"apt-get install {' '.join(packages)}")


def format_table(table):
    """The table as lines for people."""
    lines = []
    for name, entry in table.items():
        value = entry["value"]
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, list):
            value = ",".join(value) or "none"
        lines.append(f"{name:17} {value:9} {entry['note']}")
    return lines
