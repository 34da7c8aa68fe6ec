#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The virt adapter on real libvirtds: one host, and live migration between two.

Each host is a set of namespaces (mount, network, PID, UTS) with its own /run, /etc/libvirt and
/var/lib/libvirt, in which libvirtd is started by hand; nothing outside is touched. There is no
systemd in them, so slices are the lab's to test. Guests run under TCG from the demo guest's kernel.
Exit code 77 = cannot run here, with the reason.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOOL = os.path.abspath(os.environ.get("MORTAR_VIRT_TOOL", "build/tests/integration/test_virt_tool"))
GUEST = "/var/cache/mortar/guest/out"
UUID = "0d5b1f8e-2a51-4d0c-9d5e-6f1f5c3d7a10"
CMDLINE = "console=ttyS0 quiet"
SLOW_MIB = 1  # bandwidth that makes a migration last long enough to be disturbed
MOVES = 5
# What is said, after this time, of the name of a guest whose QEMU has ended when libvirtd has not forgotten it yet.
OCCUPIED = re.compile("is already (active|being started|being removed)|runs on this host already")
OCCUPIED_S = 5

START = r"""
set -e
read -r _ < "$1/go"                # the network card is there now
work=$1 name=$2 addr=$3 tool=$4
hostname "$name"
mount --make-rprivate /
umount -R -l /sys/fs/cgroup        # nobody makes slices here
# A /dev without kvm: TCG is meant, and libvirt probes a /dev/kvm that hangs again and again.
mkdir "$work/dev"
mount -t tmpfs -o mode=755 tmpfs "$work/dev"
mkdir "$work/dev/pts" "$work/dev/net" "$work/dev/shm"
for f in null zero full random urandom tty ptmx net/tun; do
    : > "$work/dev/$f"
    mount --bind "/dev/$f" "$work/dev/$f"
done
mount --bind /dev/pts "$work/dev/pts"
ln -s /proc/self/fd "$work/dev/fd"
umount -R -l /dev
mount --move "$work/dev" /dev
ip link set lo up
ip link set "v$name" name eth0
ip addr add "$addr/24" dev eth0
ip link set eth0 up
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
for d in /var/lib/libvirt /var/cache/libvirt /etc/libvirt /var/log/libvirt /etc/pki /etc/mortar \
         /var/log/mortar; do
    mkdir -p "$d"
    mount -t tmpfs tmpfs "$d"
done
cp /etc/passwd /etc/group "$work/"
grep -q '^libvirt-qemu:' "$work/passwd" ||
    echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >> "$work/passwd"
grep -q '^libvirt-qemu:' "$work/group" || echo 'libvirt-qemu:x:64055:' >> "$work/group"
printf '127.0.0.1 localhost\n10.77.7.1 h1\n10.77.7.2 h2\n' > "$work/hosts"
: > "$work/resolv.conf"
tr -d - < /proc/sys/kernel/random/uuid > "$work/machine-id"
for f in passwd group hosts resolv.conf machine-id; do
    mount --bind "$work/$f" "/etc/$f"
done
printf '# stock text before\nsecurity_driver = "none"\nstdio_handler = "file"\n' > /etc/libvirt/qemu.conf
printf 'log_outputs="3:file:%s/libvirtd.log"\n' "$work" > /etc/libvirt/libvirtd.conf
"$tool" apply "$addr" "$work/../pki/ca.crt" "$work/../pki/$name.crt" "$work/../pki/$name.key"
libvirtd --listen &
echo $! > "$work/libvirtd.pid"
while true; do                     # PID 1 reaps what libvirtd leaves
    wait
    sleep 0.2
done
"""


def skip(reason):
    print("SKIP:", reason)
    sys.exit(77)


def await_true(what, seconds, name):
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError("%s did not come within %d s" % (name, seconds))
        time.sleep(0.1)


class Host:
    def __init__(self, base, name, addr):
        self.name, self.addr, self.base = name, addr, base
        self.work = os.path.join(base, name)
        os.mkdir(self.work)
        os.mkfifo(self.work + "/go")
        self.out = open(self.work + "/out", "w")
        self.proc = subprocess.Popen(
            ["unshare", "-n", "-m", "-p", "-u", "-f", "--kill-child", "--mount-proc",
             "bash", "-c", START, "host", self.work, name, addr, TOOL],
            stdout=self.out, stderr=self.out)
        self.init = None
        await_true(self.find_init, 60, "host " + name)

    def find_init(self):
        """The bash that is PID 1 inside."""
        path = "/proc/%d/task/%d/children" % (self.proc.pid, self.proc.pid)
        kids = open(path).read().split()
        if kids and open("/proc/%s/comm" % kids[0]).read() == "bash\n":
            self.init = int(kids[0])
        return self.init

    def argv(self, *argv):
        return ["nsenter", "-t", str(self.init), "-m", "-n", "-p", "-u", *argv]

    def run(self, *argv, check=True):
        res = subprocess.run(self.argv(*argv), capture_output=True, text=True, timeout=120)
        if check and res.returncode:
            raise AssertionError("%s: %s: %s%s" % (self.name, argv, res.stdout, res.stderr))
        return res

    def tool(self, *args, check=True):
        return self.run(TOOL, *args, check=check)

    def start_libvirtd(self):
        self.run("bash", "-c", "setsid libvirtd --listen >/dev/null 2>&1 & echo $! > %s/libvirtd.pid"
                 % self.work)
        self.await_libvirtd()

    def kill_libvirtd(self):
        self.signal_libvirtd("KILL")

    def await_libvirtd(self):
        """Not before it was begun: /run might be that of the machine."""
        await_true(lambda: os.path.exists(self.work + "/libvirtd.pid")
                   and self.tool("list", check=False).returncode == 0, 60, "libvirtd of " + self.name)

    def listed(self, vm):
        for line in self.tool("list").stdout.splitlines():
            if line.startswith(vm + " "):
                return line
        return None

    def left(self):
        return self.tool("outcome", "demo").stdout.strip()

    def starts(self):
        """How often libvirtd has started our guest: for each it warns of our arguments."""
        with open(self.work + "/libvirtd.log") as log:
            return log.read().count("is tainted: custom-argv")

    def signal_libvirtd(self, name):
        self.run("bash", "-c", "kill -%s $(cat %s/libvirtd.pid)" % (name, self.work))

    def try_create(self, *disks):
        return self.tool("create", "demo", UUID, self.name, GUEST + "/vmlinuz", GUEST + "/initrd",
                         CMDLINE, *disks, check=False)

    def try_create_when_free(self, *disks):
        """The answer of libvirtd, once it has forgotten the guest before, for which each try waits."""
        results = []

        def is_free():
            start, starts = time.monotonic(), self.starts()
            results.append(self.try_create(*disks))
            is_occupied = OCCUPIED.search(results[-1].stderr)
            assert not is_occupied or time.monotonic() - start >= OCCUPIED_S, results[-1].stderr
            assert not is_occupied or self.starts() == starts, "QEMU was started, and its answer is not told"
            return not is_occupied

        await_true(is_free, 60, "name of the guest before to be free")
        return results[-1]

    def create(self):
        res = self.try_create_when_free()
        assert res.returncode == 0, res.stderr

    def show_logs(self):
        for name in ("out", "libvirtd.log"):
            if os.path.exists(self.work + "/" + name):
                print("---", self.name, name)
                lines = open(self.work + "/" + name).read().splitlines()
                print("\n".join(x for x in lines if "ethtool" not in x)[-2000:])

    def end(self):
        if self.init:
            os.kill(self.init, signal.SIGKILL)  # PID 1 of its namespace: all of it goes
        self.proc.wait()
        self.out.close()


class Hosts:
    """Two hosts, joined by a veth pair."""

    def __enter__(self):
        self.base = tempfile.mkdtemp(prefix="mortar-virt-")
        self.hosts = []
        addrs = (("h1", "10.77.7.1"), ("h2", "10.77.7.2"))
        for name, addr in addrs:
            subprocess.run([TOOL, "pki", self.base + "/pki", name, addr], check=True)
        for name, addr in addrs:
            self.hosts.append(Host(self.base, name, addr))
        h1, h2 = self.hosts
        subprocess.run(["ip", "link", "add", "vh1", "netns", str(h1.init), "type", "veth",
                        "peer", "name", "vh2", "netns", str(h2.init)], check=True)
        try:
            for h in self.hosts:
                with open(h.work + "/go", "w") as go:
                    go.write("go\n")
                h.await_libvirtd()
        except BaseException:
            self.__exit__(AssertionError, None, None)
            raise
        return self.hosts

    def __exit__(self, kind, value, trace):
        for h in self.hosts:
            if kind:
                h.show_logs()
            h.end()
        shutil.rmtree(self.base, ignore_errors=True)


def a_vm_is_created_listed_and_destroyed(h1, h2):
    h1.create()
    line = h1.listed("demo")
    print(line)
    assert re.match(r"demo running booted ours owner=h1 epoch=1-1 pid=[1-9]", line), line
    again = h1.try_create()
    assert again.returncode == 1 and "object.exists" in again.stderr, again.stderr
    h1.tool("suspend", "demo")
    assert " paused user " in h1.listed("demo")
    h1.tool("resume", "demo")
    assert " running " in h1.listed("demo")
    caps = h1.tool("caps").stdout
    print(caps)
    assert "qemu64=1 q35=1" in caps
    h1.tool("destroy", "demo")
    assert h1.listed("demo") is None
    assert h1.left() == "gone"


def a_guest_is_asked_to_shut_down(h1, h2):
    h1.create()
    log = "/var/log/mortar/console/demo.1-1.log"
    await_true(lambda: "ready" in h1.run("cat", log).stdout, 180, "booted guest")

    def is_gone_when_asked():  # "ready" does not say that the guest's kernel has found its button
        h1.tool("shutdown", "demo", check=False)
        time.sleep(2)
        return h1.left() == "gone"

    await_true(is_gone_when_asked, 60, "end of the guest")


def what_qemu_refuses_is_told(h1, h2):
    disk = h1.base + "/broken.qcow2"
    with open(disk, "w") as f:
        f.write("this is no image")
    os.chmod(h1.base, 0o755)
    os.chown(disk, 64055, 64055)
    refused = h1.try_create_when_free(disk)
    print(refused.stderr)
    assert refused.returncode == 1 and "qcow2 format" in refused.stderr
    assert h1.left() == "gone"


def a_name_of_a_guest_that_just_ended_is_waited_for(h1, h2):
    """libvirtd hears of the end and of the next start in the same moment. What comes first is up to it."""
    disk = h1.base + "/broken.qcow2"
    for disks in ((disk,), ()) * 2:
        h1.create()
        pid = re.search(r" pid=(\d+) ", h1.listed("demo"))[1]
        h1.signal_libvirtd("STOP")
        h1.run("kill", "-9", pid)
        await_true(lambda: h1.run("test", "-e", "/proc/%s/exe" % pid, check=False).returncode, 60, "end of QEMU")
        starts, answers = h1.starts(), []
        thread = threading.Thread(target=lambda: answers.append(h1.try_create_when_free(*disks)))
        thread.start()
        time.sleep(0.5)  # its question lies in the socket; if not, it comes a little later
        h1.signal_libvirtd("CONT")
        thread.join()
        print(answers[0].stderr, end="")
        assert h1.starts() == starts + 1
        assert disks and "qcow2 format" in answers[0].stderr or answers[0].returncode == 0, answers[0].stderr
        h1.tool("destroy", "demo")


def a_foreign_domain_is_listed_as_such(h1, h2):
    path = h1.work + "/theirs.xml"
    with open(path, "w") as f:
        f.write("<domain type='qemu'><name>theirs</name><memory>65536</memory>"
                "<os><type arch='x86_64'>hvm</type></os></domain>")
    h1.run("virsh", "define", path)
    line = h1.listed("theirs")
    assert " off " in line and " others " in line, line
    h1.run("virsh", "undefine", "theirs")


def settings_are_applied_once_and_taken_out(h1, h2):
    pki = h1.base + "/pki"
    args = ("apply", h1.addr, pki + "/ca.crt", pki + "/h1.crt", pki + "/h1.key")
    assert h1.tool(*args).stdout == "same\n"
    before = h1.run("cat", "/etc/libvirt/qemu.conf").stdout
    assert before.startswith("# stock text before\n") and "migrate_tls_force = 1" in before
    assert h1.tool("remove").stdout == "changed\n"
    assert "migrat" not in h1.run("cat", "/etc/libvirt/qemu.conf").stdout
    assert h1.tool(*args).stdout == "changed\n"
    assert h1.run("cat", "/etc/libvirt/qemu.conf").stdout == before


def when(text, what):
    m = re.search(r"^ *([0-9.]+) %s" % what, text, re.M)
    return float(m.group(1)) if m else None


def a_move(h1, h2):
    """When the source knew, in ms before libvirt's event; None when this process came too late to see."""
    h1.create()
    time.sleep(5)  # a guest that does something
    res = h1.tool("migrate", "demo", UUID, h2.addr, h2.addr, "h2", "2", check=False)
    print(res.stdout, res.stderr)
    if res.returncode:  # libvirtds break it off when the other one stood still for 4 s; the guest is here
        await_true(lambda: h1.left() == "running", 60, "guest that did not move")
        await_true(lambda: h2.listed("demo") is None, 60, "end of the copy on the target")
        h1.tool("destroy", "demo")
        return None
    ended = when(res.stdout, "qemu-ended confirmed")
    stopped = when(res.stdout, "stopped migrated")
    returned = when(res.stdout, "returned ok")
    assert None not in (stopped, returned)
    assert h1.listed("demo") is None
    assert h1.left() == "gone"
    line = h2.listed("demo")
    print(line)
    assert re.match(r"demo paused user ours owner=h2 epoch=1-2 ", line), line
    h2.tool("resume", "demo")
    assert h2.listed("demo").startswith("demo running ")
    h2.tool("destroy", "demo")
    return stopped - ended if ended is not None and ended < min(stopped, returned) else None


def a_vm_moves_and_the_source_knows_early(h1, h2):
    """Early are up to 200 ms: who gets no processor meanwhile sees that QEMU ended when libvirt does."""
    for _ in range(MOVES):
        early = a_move(h1, h2)
        if early is not None:
            print("the source knows %.0f ms before the event" % early)
            return
    raise AssertionError("of %d moves none was known early" % MOVES)


def slow_migration(h1, h2):
    p = subprocess.Popen(
        h1.argv(TOOL, "migrate", "demo", UUID, h2.addr, h2.addr, "h2", "2", str(SLOW_MIB)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in p.stdout:
        if re.search(r"progress done=[1-9]", line):
            break
    else:
        raise AssertionError("no progress was seen: " + p.stderr.read())
    assert h1.left() == "busy"
    return p


def an_aborted_migration_leaves_the_vm_here(h1, h2):
    h1.create()
    time.sleep(5)
    m = slow_migration(h1, h2)
    h1.tool("abort", "demo")
    out, err = m.communicate(timeout=120)
    print(out, err)
    assert m.returncode == 1 and "task.cancelled" in err, err
    assert h1.left() == "running"
    await_true(lambda: h2.listed("demo") is None, 60, "end of the copy on the target")
    h1.tool("destroy", "demo")


def a_killed_source_libvirtd_leaves_the_vm_here(h1, h2):
    h1.create()
    time.sleep(5)
    m = slow_migration(h1, h2)
    h1.kill_libvirtd()
    out, err = m.communicate(timeout=120)
    print(out, err)
    assert m.returncode == 1 and "call.timeout" in err, err
    assert h1.left() == "unknown"
    h1.start_libvirtd()
    await_true(lambda: h1.left() == "running", 60, "resumed guest")
    await_true(lambda: h2.listed("demo") is None, 60, "end of the copy on the target")
    h1.tool("destroy", "demo")


def a_killed_target_libvirtd_leaves_the_vm_here(h1, h2):
    h1.create()
    time.sleep(5)
    m = slow_migration(h1, h2)
    h2.kill_libvirtd()
    out, err = m.communicate(timeout=120)
    print(out, err)
    assert m.returncode == 1, out
    await_true(lambda: h1.left() == "running", 60, "resumed guest")
    h2.start_libvirtd()
    await_true(lambda: h2.listed("demo") is None, 60, "end of the copy on the target")
    h1.tool("destroy", "demo")


def a_cut_link_leaves_the_vm_here(h1, h2):
    h1.create()
    time.sleep(5)
    m = slow_migration(h1, h2)
    cut = time.monotonic()
    h2.run("ip", "link", "set", "eth0", "down")
    out, err = m.communicate(timeout=120)
    print("noticed after %.1f s" % (time.monotonic() - cut), err)
    assert m.returncode == 1
    assert time.monotonic() - cut < 100  # TCP alone would take a quarter of an hour
    await_true(lambda: h1.left() == "running", 60, "resumed guest")
    h2.run("ip", "link", "set", "eth0", "up")
    await_true(lambda: h2.listed("demo") is None, 60, "end of the copy on the target")
    h1.tool("destroy", "demo")


TESTS = [
    a_vm_is_created_listed_and_destroyed,
    a_guest_is_asked_to_shut_down,
    what_qemu_refuses_is_told,
    a_name_of_a_guest_that_just_ended_is_waited_for,
    a_foreign_domain_is_listed_as_such,
    settings_are_applied_once_and_taken_out,
    a_vm_moves_and_the_source_knows_early,
    an_aborted_migration_leaves_the_vm_here,
    a_killed_source_libvirtd_leaves_the_vm_here,
    a_killed_target_libvirtd_leaves_the_vm_here,
    a_cut_link_leaves_the_vm_here,
]


def main():
    if os.geteuid() != 0:
        skip("needs root for namespaces")
    for what in ("libvirtd", "qemu-system-x86_64", "virsh", "nsenter"):
        if not shutil.which(what, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            skip(what + " is not installed")
    if not os.path.exists(GUEST + "/initrd"):
        skip("the demo guest is not built (guest/build)")
    wanted = sys.argv[1:]
    with Hosts() as (h1, h2):
        for t in TESTS:
            if wanted and t.__name__ not in wanted:
                continue
            start = time.monotonic()
            t(h1, h2)
            print("=== %s: %.1f s" % (t.__name__, time.monotonic() - start), flush=True)
    print("all passed")


if __name__ == "__main__":
    main()
