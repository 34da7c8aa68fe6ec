# SPDX-License-Identifier: Apache-2.0
"""Several real glusterds on one machine, each in its own namespaces.

A host is one `unshare` process: mount, network, PID and UTS namespaces, private tmpfs over /run and
private directories over glusterd's state and logs. Hosts hang on a bridge in one more network
namespace. Nothing has a name outside, so several test runs cannot meet, and ending the `unshare`
processes (by id) ends everything: daemons, mounts, links.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

BASE = "10.99.7."
# bash (not exec'd away, because a PID 1 must reap the daemons that detach themselves)
HOST_INIT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/gluster
for pair in "glusterd /var/lib/glusterd" "log /var/log/glusterfs"; do
    set -- $pair
    mount --bind "$DIR/$1" "$2"
done
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /srv
cp "$DIR/hosts" /run/hosts
mount --bind /run/hosts /etc/hosts
# geo-replication "is not installed": glusterd would run its Python helper twenty times at each start
printf '#!/none\\n' >/run/gsyncd
chmod +x /run/gsyncd
for helper in /usr/lib/*/glusterfs/gsyncd /usr/libexec/glusterfs/gsyncd; do
    [ ! -e "$helper" ] || mount --bind /run/gsyncd "$helper"
done
hostname "$NAME"
ip link set lo up
touch "$DIR/ready"
set +e
while :; do sleep 3600; done
"""


def missing_reason():
    """Why this machine cannot run it, or None."""
    if os.geteuid() != 0:
        return "needs root for namespaces"
    for tool in ("glusterd", "gluster", "glusterfs", "ip", "unshare", "nsenter", "bash"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if not os.path.exists("/dev/fuse"):
        return "/dev/fuse is missing"
    return None


def wait_for(what, condition, seconds=60):
    """Until condition() gives something true; return that. The time only ends a hopeless wait."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def command_line(pid):
    with open(f"/proc/{pid}/cmdline") as f:
        return f.read().split("\0")


class Host:
    def __init__(self, root, index):
        self.name = f"g{index}"
        self.address = f"{BASE}{index}"
        self.dir = os.path.join(root, self.name)
        for sub in ("glusterd", "log"):
            os.makedirs(os.path.join(self.dir, sub))
        with open(os.path.join(self.dir, "hosts"), "w") as f:
            f.write(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        self.unshare = subprocess.Popen(
            ["unshare", "-m", "-n", "-p", "-u", "-f", "--mount-proc", "--kill-child",
             "bash", "-c", HOST_INIT],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DIR": self.dir, "NAME": self.name},
            stdin=subprocess.DEVNULL)
        wait_for(f"{self.name} ready", lambda: os.path.exists(os.path.join(self.dir, "ready")))
        with open(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children") as f:
            self.pid = int(f.read().split()[0])

    def enter(self, *argv):
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", *argv]

    def run(self, *argv, check=True, timeout=120, **kw):
        return subprocess.run(self.enter(*argv), check=check, timeout=timeout, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)

    def start_glusterd(self):
        self.run("glusterd", "-p", "/run/glusterd.pid")

    def glusterd_ready(self):
        return self.run("gluster", "--mode=script", "pool", "list", check=False).returncode == 0

    def pids(self, program):
        """Process ids, as seen outside, of this host's processes called @program."""
        found = []
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if (os.readlink(f"/proc/{pid}/ns/pid") == namespace
                        and os.path.basename(command_line(pid)[0]) == program):
                    found.append(int(pid))
            except OSError:
                pass  # it ended while we looked
        return found

    def pid_of(self, program, *words):
        """The one process @program of this host that has all @words in its command line."""
        found = [p for p in self.pids(program) if all(w in command_line(p) for w in words)]
        assert len(found) == 1, f"{len(found)} processes {program} {words} on {self.name}"
        return found[0]

    def end(self):
        self.unshare.send_signal(signal.SIGKILL)  # --kill-child takes PID 1, and with it the rest
        self.unshare.wait(60)


class Cluster:
    def __init__(self, count=3):
        self.root = tempfile.mkdtemp(prefix="mortar-gluster-")
        self.switch = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self.hosts = []
        own = os.readlink("/proc/self/ns/net")
        wait_for("switch", lambda: os.readlink(f"/proc/{self.switch.pid}/ns/net") != own)
        self._in_switch("ip", "link", "add", "br0", "type", "bridge")
        self._in_switch("ip", "link", "set", "br0", "up")
        for i in range(1, count + 1):
            self.hosts.append(Host(self.root, i))
            self._wire(self.hosts[-1])
        for h in self.hosts:
            h.start_glusterd()
        for h in self.hosts:
            wait_for(f"glusterd on {h.name}", h.glusterd_ready)

    def _in_switch(self, *argv):
        subprocess.run(["nsenter", "-t", str(self.switch.pid), "-n", *argv], check=True)

    def _wire(self, host):
        self._in_switch("ip", "link", "add", host.name, "type", "veth", "peer", "name", "eth0",
                        "netns", str(host.pid))
        self._in_switch("ip", "link", "set", host.name, "master", "br0", "up")
        host.run("ip", "addr", "add", host.address + "/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")

    def cut(self, host, down=True):
        """Pull @host's cable, or plug it in again."""
        self._in_switch("ip", "link", "set", host.name, "down" if down else "up")

    def end(self):
        for h in self.hosts:
            h.end()
        self.switch.kill()
        self.switch.wait(60)
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()
