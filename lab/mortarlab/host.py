# SPDX-License-Identifier: Apache-2.0
"""One lab host: Debian with systemd as PID 1, under systemd-nspawn.

Its root is an overlay of its own upper directory over the shared images, mounted in a private
mount namespace that dies with the host: on the machine there is nothing to unmount. Power is the
host's cgroup.
"""

import itertools
import os
import signal
import subprocess
import time
import uuid

from . import cgroup, disk, net, state
from .command import LabError, clean_env, say

BOOT_DEADLINE_S = 300
BINDS = ("/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/vhost-net")
UP_STATES = ("running", "degraded")

# The machine's clock and modules are not a host's to change.
NSPAWN = [
    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=read-only",
    "--resolv-conf=off", "--timezone=off", "--link-journal=no",
    "--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE",
    "--system-call-filter=@mount @keyring bpf @raw-io",
]
NSPAWN_ENV = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}

# In a private mount namespace: the root, and nspawn's own run directory so that no trace of the
# machine name stays on the machine.
START_SCRIPT = r"""
lower=$2 upper=$3
if [ "$4" != - ]; then # a disk for the root: what we wrote outside lies below it
    mount -t ext4 "$4" "$3/disk" && mkdir -p "$3/disk/upper" "$3/disk/work" || exit 1
    lower=$3/upper:$2 upper=$3/disk
fi
mount -t overlay "lab-$1" -o "lowerdir=$lower,upperdir=$upper/upper,workdir=$upper/work" "$3/root" || exit 1
mkdir -p /run/systemd/nspawn && mount -t tmpfs lab /run/systemd/nspawn || exit 1
shift 4
exec "$@"
"""

# Cold plug announces "add" for every device of the machine to every udevd on it, so a host asks
# only for its own links and disk.
COLD_PLUG = """\
[Service]
ExecStart=
ExecStart=-/bin/udevadm trigger --action=add --subsystem-match=net
ExecStart=-/bin/udevadm trigger --action=add --name-match={device}
"""

exec_numbers = itertools.count(1)


class HostProcess(subprocess.Popen):
    """A command inside a host. Its cgroup holds all that it starts."""

    def __init__(self, argv, group, **options):
        self.group = group
        super().__init__(argv, env=clean_env(), **options)

    def kill(self):
        """End the command and everything it started; the caller still waits for it."""
        cgroup.kill(self.group)

    def drop_group(self):
        """Remove the cgroup, unless the command left something running there on purpose."""
        try:
            self.group.rmdir()
        except OSError:
            pass  # a daemon stayed, or the host has gone with everything


class Host:
    """A host of a lab. Holds no state of its own: the plan and the kernel have it all."""

    def __init__(self, lab_name, plan, entry):
        """entry is the host's part of the plan: {name, index, role, disk_bytes, sector_bytes,
        has_small_root}."""
        self.lab = lab_name
        self.plan = plan
        self.name = entry["name"]
        self.role = entry["role"]
        self.index = entry["index"]
        self.disk_bytes = entry["disk_bytes"]
        self.sector_bytes = entry["sector_bytes"]
        self.dir = state.lab_dir(lab_name) / "hosts" / self.name
        self.disk_file = state.lab_dir(lab_name) / "disks" / f"{self.name}.img"
        self.has_small_root = entry.get("has_small_root", False)
        self.root_file = state.lab_dir(lab_name) / "disks" / f"{self.name}-root.img"
        self.cgroup = cgroup.host_path(lab_name, self.name)

    def address(self, network="mgmt"):
        """The host's address in "mgmt", "stor" or, with uplinks, "wan"."""
        return net.address(self.plan["slot"], network, self.index)

    def state(self):
        """off, booting, running, degraded, stopping, hung, or silent: systemd does not answer."""
        if not cgroup.is_populated(self.cgroup):
            return "off"
        if cgroup.is_frozen(self.cgroup):
            return "hung"
        if not self.is_reachable():
            return "booting"
        try:
            done = self.exec(["systemctl", "is-system-running"], timeout=20, check=False)
        except LabError:
            return "silent"
        word = done.stdout.strip()
        return word if word in UP_STATES + ("stopping",) else "booting"

    def is_reachable(self):
        """Does the host's systemd take commands yet?"""
        leader = cgroup.leader(self.cgroup)
        return leader is not None and os.path.exists(f"/proc/{leader}/root/run/systemd/private")

    def start(self):
        """Power on: disk, cards, files, then nspawn; finish_start() is the second half."""
        for name in ("upper", "work", "disk", "root"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        disk.create(self.disk_file, self.disk_bytes)
        device = disk.attach(self.disk_file, self.sector_bytes)
        root_device = "-"
        if self.has_small_root:
            disk.create_root(self.root_file)
            root_device = disk.attach(self.root_file)
        net.make_host(self.lab, self.plan["slot"], self.name, self.index, net.nets_of(self.plan))
        self.write_files(device)
        cgroup.kill(self.cgroup)  # what a killed start left behind may have entered just now
        cgroup.remove_host(self.lab, self.name)
        with open(self.dir / "console.log", "ab") as log:
            subprocess.run(
                ["setsid", "--fork"] + cgroup.wrap(self.lab, self.name, self.nspawn_argv(device, root_device)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_env(**NSPAWN_ENV),
                check=True,
            )

    def finish_start(self):
        """Wait until nspawn runs, and give it controllers; harmless when that has been done."""
        try:
            cgroup.delegate(self.lab, self.name)
        except LabError as error:
            raise LabError(f"{error}\n{self.console_tail()}") from None

    def nspawn_argv(self, device, root_device):
        """The whole command line that becomes the host."""
        binds = [str(device)] + [path for path in BINDS if os.path.exists(path)]
        # Not by --network-namespace-path: nspawn then shows the machine's links in /sys/class/net.
        argv = ["nsenter", f"--net=/run/netns/{net.host_ns(self.lab, self.name)}"]
        argv += ["unshare", "--mount", "--propagation", "private", "sh", "-c", START_SCRIPT]
        argv += ["start", self.name, ":".join(self.plan["layers"]), str(self.dir), str(root_device)]
        argv += NSPAWN
        argv += [
            f"--directory={self.dir}/root",
            f"--machine=mlab-{self.lab}-{self.name}",
            f"--hostname={self.name}",
        ]
        return argv + [f"--bind={path}" for path in binds] + ["/usr/sbin/mortar-lab-init"]

    def write_files(self, device):
        """What an installer would have left in /etc: names, identity, the way to the disk."""
        lines = ["127.0.0.1 localhost"]
        for entry in self.plan["hosts"]:
            for network, suffix in (("mgmt", ""), ("stor", "-stor")):
                where = net.address(self.plan["slot"], network, entry["index"])
                lines.append(f"{where} {entry['name']}{suffix}")
        identity = uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{self.lab}.mortar-lab")
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/machine-id": f"{identity.hex}\n",
            "etc/tmpfiles.d/mortar-lab.conf": f"L+ /dev/mortar-data - - - - {device.name}\n",
            "etc/udev/rules.d/99-mortar-lab.rules":
                f'KERNEL=="{device.name}", SYMLINK+="mortar-data"\n',
            "etc/systemd/system/systemd-udev-trigger.service.d/mortar-lab.conf":
                COLD_PLUG.format(device=device),
        }
        for path, content in files.items():
            file = self.dir / "upper" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        hosts = self.dir / "upper/etc/hosts"
        if not hosts.exists():  # later it is the host's own: Mortar may add to it
            hosts.write_text("\n".join(lines) + "\n")

    def wait_up(self, deadline_s=BOOT_DEADLINE_S):
        """Wait until systemd says that booting is over; return its word."""
        end = time.monotonic() + deadline_s
        next_word = time.monotonic() + 10
        while time.monotonic() < end:
            if not cgroup.is_populated(self.cgroup):
                raise LabError(f"{self.name} ended while booting\n{self.console_tail()}")
            if self.is_reachable():
                argv = ["timeout", "10", "systemctl", "is-system-running", "--wait"]
                word = self.exec(argv, check=False).stdout.strip()
                if word in UP_STATES:
                    return word
            if time.monotonic() > next_word:
                say(f"waiting for {self.name}: {self.waiting_for()}")
                next_word = time.monotonic() + 10
            time.sleep(0.05)
        raise LabError(f"{self.name} is not up after {deadline_s} s: {self.waiting_for()}")

    def waiting_for(self):
        """The jobs that systemd still has to do, in one line."""
        if not self.is_reachable():
            return "its systemd does not answer yet"
        argv = ["systemctl", "list-jobs", "--no-legend", "--plain"]
        jobs = self.exec(argv, check=False).stdout.splitlines()
        active = [job.split()[1] for job in jobs if job.endswith("running")]
        return ", ".join(active) or f"{len(jobs)} jobs, none of them active"

    def failed_units(self):
        """Names of failed units, for the report of a degraded host."""
        argv = ["systemctl", "list-units", "--failed", "--no-legend", "--plain"]
        done = self.exec(argv, check=False)
        return [line.split()[0] for line in done.stdout.splitlines() if line.strip()]

    def console_tail(self):
        """The last words on the console."""
        text = (self.dir / "console.log").read_text(errors="replace")
        return text[-1500:]

    def kill(self):
        """No power: every process of the host ends at once."""
        cgroup.kill(self.cgroup)

    def set_frozen(self, frozen):
        """Stop or go on, with all processes of the host."""
        cgroup.set_frozen(self.cgroup, frozen)

    def enter_argv(self, argv):
        """(argv that runs argv inside the host, the cgroup it runs in).

        The command belongs to the host's cgroup, so that it shares its fate when power is cut.
        """
        leader = cgroup.leader(self.cgroup)
        if leader is None:
            raise LabError(f"{self.name} is not running", f"mortar-lab boot {self.name}")
        if cgroup.is_frozen(self.cgroup):
            raise LabError(f"{self.name} hangs", f"mortar-lab resume {self.name}")
        group = self.cgroup / "payload" / f"lab-exec-{os.getpid()}-{next(exec_numbers)}"
        group.mkdir()
        head = ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        inside = head + [str(a) for a in argv]
        return cgroup.enter(cgroup.command_paths(self.lab, self.name, group), inside), group

    def popen(self, argv, **options):
        """A running command inside the host, with the options of subprocess.Popen."""
        inside, group = self.enter_argv(argv)
        return HostProcess(inside, group, **options)

    def exec(self, argv, timeout=60, check=True, text_in=None):
        """Run argv inside the host; CompletedProcess with text output.

        After the timeout everything the command started is killed, and LabError raised.
        """
        child = self.popen(
            argv,
            stdin=subprocess.DEVNULL if text_in is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = child.communicate(text_in, timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            words = f"{self.name}: no end within {timeout} s: {' '.join(map(str, argv))}"
            raise LabError(f"{words}\n{out[-800:]}{err[-800:]}") from None
        finally:
            child.drop_group()
        done = subprocess.CompletedProcess(argv, child.returncode, out, err)
        if check and done.returncode != 0:
            words = f"{self.name}: {' '.join(map(str, argv))}: exit {done.returncode}"
            raise LabError(f"{words}\n{out[-800:]}{err[-800:]}")
        return done

    def put(self, local_path, path, mode="644"):
        """Copy a file of the machine into the host, whole or not at all."""
        script = 'cat > "$1.part" && chmod "$2" "$1.part" && mv "$1.part" "$1"'
        with open(local_path, "rb") as file:
            child = self.popen(["sh", "-c", script, "put", path, mode], stdin=file)
            code = child.wait()
            child.drop_group()
        if code != 0:
            raise LabError(f"cannot write {path} on {self.name}")

    def call(self, argv):
        """Run argv inside the host on the caller's own terminal and files; its exit code.

        A signal that ends us ends the command: SIGINT reaches it from the terminal by itself.
        """
        child = self.popen(argv)

        def stop(_number, _frame):
            child.kill()

        before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGHUP)}
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            child.drop_group()
        return code if code >= 0 else 128 - code
