# SPDX-License-Identifier: Apache-2.0
"""A lab: N hosts, their switches and disks, and the ways to hurt them.

    lab = Lab("mine")
    lab.up(hosts=3)
    lab.exec("host1", ["hostname"]).stdout
    lab.cut("host2"); lab.boot("host2"); lab.down()
"""

import concurrent.futures
import shutil
import time

from . import capability, cgroup, disk, image, limits, net, state
from .command import LabError, say
from .host import BOOT_DEADLINE_S, Host

MAX_HOSTS = 16
DATA_DISK = "10G"
WITNESS_DISK = "2G"
SLOW_IOPS = 20
FILL_NAME = ".mortar-lab-fill"
# Not all that df shows can be had in one piece: take less and less, down to a few blocks.
FILL_SCRIPT = r"""
n=$((1 << 40)) at=$(stat -c %s "$1" 2>/dev/null || echo 0)
while [ $n -ge 4096 ]; do
    if fallocate -o $at -l $n "$1" 2>/dev/null; then at=$((at + n)); else n=$((n / 2)); fi
done
"""
FREE_SCRIPT = r"""
rm -f "/$1"
findmnt -no TARGET -S "$(readlink -f /dev/mortar-data)" | while read -r at; do rm -f "$at/$1"; done
"""


class Lab:
    """One lab by name. Every method may be called again after a crash of itself."""

    def __init__(self, name="lab"):
        state.check_name(name)
        self.name = name

    # -- making and removing

    def up(self, hosts=None, disk_size=None, witness=None, debs=None, disks_4kn=(),
           uplinks=None, small_roots=(), deadline_s=BOOT_DEADLINE_S):
        """Make what is missing and boot what is off; return the seconds it took.

        hosts: how many (3). disk_size: of each data disk ("10G", sparse). witness: the last host
        has only a small disk (default: when there are three hosts). debs: directory of our
        packages to install; in hosts that exist they are installed as an upgrade. disks_4kn: names
        of hosts whose data disks have logical sectors of 4096 bytes. uplinks: each host has a card
        wan0 to a third network, the outside. small_roots: names of hosts whose root is a disk of its
        own (1G), which may be filled. A lab that exists keeps its shape; asking for another
        is refused.
        """
        started = time.monotonic()
        capability.require_tools()
        table = capability.find_capabilities()
        capability.require(table)
        with state.locked(self.name):
            plan = state.load(self.name)
            if plan is None:
                plan = self._make_plan(hosts, disk_size, witness, debs, disks_4kn, uplinks, small_roots)
            else:
                self._refuse_other_plan(plan, hosts, disk_size, witness, disks_4kn, uplinks, small_roots)
            with state.locked("machine"):
                limits.prepare_machine()
                cgroup.prepare_machine()
            net.make_lab(self.name, plan["slot"], net.nets_of(plan))
            awake = [h for h in self._hosts(plan) if not cgroup.is_frozen(h.cgroup)]
            self._boot_all(plan, awake, deadline_s)
            if debs:
                self._upgrade(plan, image.list_debs(debs))
        return time.monotonic() - started

    def _make_plan(self, hosts, disk_size, witness, debs, disks_4kn, uplinks, small_roots):
        """Choose and record everything before the first resource is made."""
        count = 3 if hosts is None else hosts
        if not 1 <= count <= MAX_HOSTS:
            raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, not {count}")
        strangers = {*disks_4kn, *small_roots} - {f"host{n}" for n in range(1, count + 1)}
        if strangers:
            raise LabError(f"no host {', '.join(sorted(strangers))} in this lab")
        witness = count == 3 if witness is None else witness
        layers = [image.ensure_base()]
        if debs:
            layers.insert(0, image.ensure_packages(layers[0], image.list_debs(debs)))
        data_bytes = disk.parse_size(disk_size or DATA_DISK)
        entries = []
        for index in range(1, count + 1):
            small = witness and index == count
            entries.append({
                "name": f"host{index}",
                "index": index,
                "role": "witness" if small else "data",
                "disk_bytes": disk.parse_size(WITNESS_DISK) if small else data_bytes,
                "sector_bytes": 4096 if f"host{index}" in disks_4kn else 512,
                "has_small_root": f"host{index}" in small_roots,
            })
        plan = {"name": self.name, "layers": [str(p) for p in layers], "hosts": entries}
        plan |= {"cuts": [], "isolated": [], "uplinks": bool(uplinks)}
        plan["debs"] = image.hash_debs(image.list_debs(debs)) if debs else None
        with state.locked("machine"):
            plan["slot"] = net.choose_slot(self.name)
            state.save(self.name, plan)
        return plan

    def _refuse_other_plan(self, plan, hosts, disk_size, witness, disks_4kn, uplinks, small_roots):
        """An existing lab is continued, never silently changed."""
        entries = plan["hosts"]
        same = hosts in (None, len(entries))
        same &= witness in (None, entries[-1]["role"] == "witness")
        same &= disk_size is None or disk.parse_size(disk_size) == entries[0]["disk_bytes"]
        same &= not disks_4kn or set(disks_4kn) == {h["name"] for h in entries
                                                    if h["sector_bytes"] == 4096}
        same &= not small_roots or set(small_roots) == {h["name"] for h in entries if h.get("has_small_root")}
        same &= uplinks is None or uplinks == plan.get("uplinks", False)
        if not same:
            raise LabError(
                f"lab {self.name!r} exists with {len(entries)} hosts and another shape",
                f"mortar-lab down --name {self.name}",
            )

    def _boot_all(self, plan, hosts, deadline_s):
        """Power on those that are off, and wait for all: a killed `up` may have started some."""
        off = [h for h in hosts if not cgroup.is_populated(h.cgroup)]
        names = {h.name for h in off}
        plan["isolated"] = [name for name in plan["isolated"] if name not in names]
        state.save(self.name, plan)
        for host in off:
            host.start()
        for host in hosts:
            host.finish_start()
        net.apply_rules(self.name, plan["cuts"], plan["isolated"])
        if not hosts or deadline_s == 0:
            return
        with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
            words = list(pool.map(lambda host: host.wait_up(deadline_s), hosts))
        for host, word in zip(hosts, words):
            if word == "degraded":
                say(f"{host.name} is degraded: {', '.join(host.failed_units())} failed")

    def _upgrade(self, plan, debs):
        """Install packages in running hosts as a user would, when they are not the plan's."""
        wanted = image.hash_debs(debs)
        if plan.get("debs") == wanted:
            return
        say("upgrading to " + " ".join(p.name for p in debs))
        for host in self._hosts(plan):
            host.exec(["mkdir", "-p", "/root/debs"])
            for deb in debs:
                host.put(deb, f"/root/debs/{deb.name}")
            host.exec(["sh", "-c", "dpkg -i /root/debs/*.deb && rm -r /root/debs"], timeout=300)
        plan["debs"] = wanted
        state.save(self.name, plan)

    def down(self):
        """Remove the lab and all its traces, by plan or by naming alone; quiet when none exist."""
        with state.locked(self.name):
            cgroup.end_lab(self.name)
            if shutil.which("ip"):
                net.remove_lab(self.name)
            directory = state.lab_dir(self.name)
            disk.detach_below(directory)
            if directory.exists():
                shutil.rmtree(directory)
            with state.locked("machine"):
                if not state.list_labs():
                    limits.restore_machine()
                    cgroup.restore_machine()
                    state.drop_root()
                    state.lock_path("machine").unlink()
            state.lock_path(self.name).unlink()

    # -- looking

    def _plan(self):
        plan = state.load(self.name)
        if plan is None:
            raise LabError(f"there is no lab {self.name!r}", f"mortar-lab up --name {self.name}")
        return plan

    def _hosts(self, plan):
        return [Host(self.name, plan, entry) for entry in plan["hosts"]]

    def hosts(self):
        """All hosts, as Host objects."""
        return self._hosts(self._plan())

    def host(self, name):
        """One host by name."""
        return self._find(self._plan(), name)

    def _find(self, plan, name):
        for host in self._hosts(plan):
            if host.name == name:
                return host
        known = ", ".join(entry["name"] for entry in plan["hosts"])
        raise LabError(f"lab {self.name!r} has no host {name!r}", f"it has {known}")

    def status(self):
        """The lab as plain data; `status --json` prints it."""
        plan = self._plan()
        slot = plan["slot"]
        names = net.NET_NAMES | ({"outside": net.WAN} if plan.get("uplinks") else {})
        return {
            "name": self.name,
            "networks": {n: str(net.subnet(slot, short)) for n, short in names.items()},
            "cuts": plan["cuts"],
            "hosts": [
                {
                    "name": host.name,
                    "state": host.state(),
                    "address": host.address(),
                    "storage_address": host.address("stor"),
                    "role": host.role,
                    "disk_bytes": host.disk_bytes,
                    "isolated": host.name in plan["isolated"],
                }
                for host in self._hosts(plan)
            ],
        }

    # -- commands inside

    def exec(self, host, argv, timeout=60, check=True, text_in=None):
        """Run argv inside a host: see Host.exec."""
        return self.host(host).exec(argv, timeout=timeout, check=check, text_in=text_in)

    def popen(self, host, argv, **options):
        """Start argv inside a host and do not wait: a HostProcess, see Host.popen."""
        return self.host(host).popen(argv, **options)

    def put(self, host, local_path, path, mode="644"):
        """Copy a file of the machine into a host: see Host.put."""
        self.host(host).put(local_path, path, mode)

    # -- hurting

    def cut(self, name):
        """Take a host's power: links fall silent first, so no closing packet gets out."""
        with state.locked(self.name):
            plan = self._plan()
            host = self._find(plan, name)
            self._isolate(plan, name)
            host.kill()

    def boot(self, name, deadline_s=BOOT_DEADLINE_S):
        """Give power to a host that is off, and wait until it is up; deadline_s 0: not that. A host whose
        cluster has no quorum yet does not get up alone."""
        with state.locked(self.name):
            plan = self._plan()
            host = self._find(plan, name)
            if cgroup.is_populated(host.cgroup):
                raise LabError(f"{name} is {host.state()}, not off")
            self._boot_all(plan, [host], deadline_s)

    def hang(self, name, cut_links=False):
        """Stop all processes of a host. Its kernel still acknowledges TCP unless cut_links."""
        with state.locked(self.name):
            plan = self._plan()
            host = self._find(plan, name)
            if not cgroup.is_populated(host.cgroup):
                raise LabError(f"{name} is off")
            if cut_links:
                self._isolate(plan, name)
            host.set_frozen(True)

    def resume(self, name):
        """End a hang, with its links if they were cut."""
        with state.locked(self.name):
            plan = self._plan()
            host = self._find(plan, name)
            if not cgroup.is_frozen(host.cgroup):
                raise LabError(f"{name} does not hang")
            plan["isolated"] = [n for n in plan["isolated"] if n != name]
            self._write_links(plan)
            host.set_frozen(False)

    def partition(self, name, other=None, network=None):
        """Drop everything between two hosts, or one host and all (other None).

        network: "mgmt", "storage" or both (None). Cuts add up until heal().
        """
        with state.locked(self.name):
            plan = self._plan()
            self._find(plan, name)
            if other is not None:
                self._find(plan, other)
            if other == name:
                raise LabError(f"{name} cannot be cut off from itself")
            if network not in (None, *net.NET_NAMES):
                raise LabError(f"no network {network!r}", "mgmt or storage")
            nets = net.NETS if network is None else (net.NET_NAMES[network],)
            for short in nets:
                cut = [short, name, other or "*"]
                if cut not in plan["cuts"]:
                    plan["cuts"].append(cut)
            self._write_links(plan)

    def silence(self):
        """Drop everything between all hosts, from one moment on: a switch that dies. Until heal()."""
        with state.locked(self.name):
            plan = self._plan()
            plan["cuts"] = [[short, host["name"], "*"] for host in plan["hosts"] for short in net.NETS]
            self._write_links(plan)

    def heal(self):
        """Take back all partitions; hosts that are cut or hang stay without links."""
        with state.locked(self.name):
            plan = self._plan()
            plan["cuts"] = []
            self._write_links(plan)

    def _isolate(self, plan, name):
        plan["isolated"] = sorted({*plan["isolated"], name})
        self._write_links(plan)

    def _write_links(self, plan):
        """Plan first, kernel second: a crash between is repaired by the next change."""
        state.save(self.name, plan)
        net.apply_rules(self.name, plan["cuts"], plan["isolated"])

    # -- disks

    def disk(self, name, action):
        """Hurt the data disk of a host, or its small root.

        fill: its file system has no free byte. fill-root: so of the root. slow: SLOW_IOPS reads and writes a second.
        error: its XFS behaves as after a fatal error of the disk, every call fails until nobody
        has it mounted (after cut and boot, for instance). free: ends fill, fill-root and slow.
        """
        with state.locked(self.name):
            host = self._find(self._plan(), name)
            if not cgroup.is_populated(host.cgroup):
                raise LabError(f"{name} is off", f"mortar-lab boot {name}")
            device = disk.attach(host.disk_file, host.sector_bytes)
            if action == "fill":
                where = self._data_mount(host)
                host.exec(["sh", "-c", FILL_SCRIPT, "fill", f"{where}/{FILL_NAME}"])
            elif action == "fill-root":
                if not host.has_small_root:
                    raise LabError(f"{name}: its root is this machine's own disk", "up(small_roots=[…])")
                host.exec(["sh", "-c", FILL_SCRIPT, "fill", f"/{FILL_NAME}"])
            elif action == "slow":
                cgroup.limit_disk(self.name, name, device, SLOW_IOPS)
            elif action == "error":
                host.exec(["xfs_io", "-x", "-c", "shutdown", self._data_mount(host)])
            elif action == "free":
                cgroup.limit_disk(self.name, name, device, None)
                host.exec(["sh", "-c", FREE_SCRIPT, "free", FILL_NAME])
            else:
                raise LabError(f"no disk action {action!r}", "fill, fill-root, error, slow or free")

    def squeeze(self, name, spare_bytes):
        """What runs in a host has no more memory than now and spare_bytes; the kernel ends what takes more. None ends it."""
        with state.locked(self.name):
            cgroup.limit_memory(self.name, self._find(self._plan(), name).name, spare_bytes)

    def _data_mount(self, host):
        """Where the data disk is mounted inside the host."""
        argv = ["sh", "-c", "findmnt -nfo TARGET -S $(readlink -f /dev/mortar-data)"]
        where = host.exec(argv, check=False).stdout.strip()
        if not where:
            raise LabError(f"{host.name}: /dev/mortar-data is not mounted")
        return where


def down_all():
    """Remove every lab of this machine."""
    for name in state.list_labs():
        Lab(name).down()
