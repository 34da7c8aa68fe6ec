# SPDX-License-Identifier: Apache-2.0
"""The cgroup a host lives in: its power switch (kill) and its hang (freeze).

Two ways, by machine:
    scope   systemd is PID 1: each host is a scope with Delegate=yes below mortarlab.slice
    own     no systemd: we make mortar-lab/LAB/HOST in the cgroup2 hierarchy, and the same below
            the hybrid machine's name=systemd hierarchy, because nspawn uses both, and in blkio and
            memory, where a slow disk and a want of memory are made when cgroup2 has no such controllers

In both, nspawn makes `supervisor` (itself) and `payload` (the host) below the host's cgroup.
libvirt treats a cgroup2 without any controller as absent and ignores <partition> silently
(facts/probes.md 4.3), so at least one controller is delegated down to the payload.
"""

import functools
import os
import pathlib
import time

from . import state
from .command import LabError, run

SLICE = "mortarlab.slice"
OWN = "mortar-lab"
# All of these only end a hopeless wait: a machine may have ten other things to do.
KILL_DEADLINE_S = 60
STUCK_S = 2.0  # the freezer is done in milliseconds with what it can reach
FREEZER_WAITS = ("get_signal", "do_freezer_trap")  # where threads of a frozen cgroup stand, by kernel
START_S = 60.0  # by then a started command has entered its cgroup


@functools.cache
def way():
    """How hosts are started on this machine: "scope" or "own"."""
    return "scope" if os.path.isdir("/run/systemd/system") else "own"


@functools.cache
def mounts():
    """Mount points of the hierarchies the lab uses: {"unified", "name=systemd", "blkio", "memory"}."""
    found = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        fstype, _source, options = right.split()
        where = pathlib.Path(left.split()[4])
        if fstype == "cgroup2":
            found.setdefault("unified", where)
        elif fstype == "cgroup":
            for name in {"name=systemd", "blkio", "memory"} & set(options.split(",")):
                found.setdefault(name, where)
    if "unified" not in found:
        raise LabError("this machine has no cgroup2 hierarchy mounted")
    return found


def unified_root():
    """Where cgroup2 is mounted."""
    return mounts()["unified"]


def own_paths(*below):
    """The lab's directory, or one below it, in each hierarchy of the own way."""
    return [root.joinpath(OWN, *below) for root in mounts().values()]


def unit_name(lab, host):
    """The scope of a host; dots, because dashes in slices mean nesting."""
    return f"mortarlab.{lab}.{host}.scope"


def host_path(lab, host):
    """The host's cgroup in the cgroup2 hierarchy, whether it exists or not."""
    if way() == "scope":
        return unified_root() / SLICE / unit_name(lab, host)
    return unified_root() / OWN / lab / host


def host_paths_of_lab(lab):
    """All host cgroups that exist for a lab, by naming convention only."""
    if way() == "scope":
        return sorted((unified_root() / SLICE).glob(unit_name(lab, "*")))
    return sorted(p for p in (unified_root() / OWN / lab).glob("*") if p.is_dir())


def wrap(lab, host, argv):
    """argv that starts argv inside the host's cgroup."""
    if way() == "scope":
        head = ["systemd-run", "--scope", "--quiet", "--collect", f"--slice={SLICE}"]
        head += [f"--unit={unit_name(lab, host)}", f"--description=Lab {lab}, {host}"]
        return head + ["-pDelegate=yes", "--"] + argv
    for path in own_paths(lab, host):
        path.mkdir(parents=True, exist_ok=True)
    return enter(own_paths(lab, host), argv)


def enter(paths, argv):
    """argv that moves itself into cgroups and becomes argv."""
    script = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'
    return ["sh", "-c", script, "enter"] + [f"{p}/cgroup.procs" for p in paths] + ["--"] + argv


def command_paths(lab, host, group):
    """The cgroups a command inside a host enters: its own, and the one with the disk's limit."""
    limits = mounts().get("blkio", pathlib.Path("/none")) / OWN / lab / host
    return [group, limits] if limits.is_dir() else [group]


def limit_disk(lab, host, device, iops):
    """Let a host do no more than iops reads and writes a second on a device; None lifts it."""
    number = os.stat(device).st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    blkio = mounts().get("blkio")
    io_max = host_path(lab, host) / "io.max"
    if io_max.exists():
        io_max.write_text(f"{name} riops={iops or 'max'} wiops={iops or 'max'}")
    elif blkio and way() == "own" and (blkio / "blkio.throttle.read_iops_device").exists():
        for kind in ("read", "write"):
            file = blkio / OWN / lab / host / f"blkio.throttle.{kind}_iops_device"
            file.write_text(f"{name} {iops or 0}")
    elif iops is not None:
        raise LabError("this machine cannot slow a disk: no io controller, no blkio.throttle")


def memory_files(lab, host):
    """(directory, limit, "no limit", word for what cannot be reclaimed in memory.stat, file that counts kills)."""
    if (host_path(lab, host) / "memory.max").exists():
        return host_path(lab, host), "memory.max", "max", "anon", "memory.events"
    where = mounts().get("memory", pathlib.Path("/none")) / OWN / lab / host
    if way() == "own" and where.is_dir():
        return where, "memory.limit_in_bytes", "-1", "total_rss", "memory.oom_control"
    raise LabError("this machine cannot take a host's memory away: no memory controller")


def read_words(path):
    """{word: number} of a file of control groups."""
    return {word: int(number) for word, number in (line.split() for line in path.read_text().splitlines())}


def limit_memory(lab, host, spare_bytes):
    """Let a host's processes, but for commands from outside, have no more than spare_bytes beyond what they have now;
    None lifts it."""
    where, limit, nothing, kept, _ = memory_files(lab, host)
    words = nothing if spare_bytes is None else str(read_words(where / "memory.stat")[kept] + spare_bytes)
    (where / limit).write_text(words)


def memory_kills(lab, host):
    """How many processes of a host the kernel has ended for want of memory within its limit."""
    where, _, _, _, kills = memory_files(lab, host)
    return read_words(where / kills)["oom_kill"]


def enable_controllers(path, names):
    """Offer names to the children of path; those that cannot be are left out."""
    offered = (path / "cgroup.controllers").read_text().split()
    for name in names:
        if name in offered:
            (path / "cgroup.subtree_control").write_text(f"+{name}")


def prepare_machine():
    """Make sure that the root of the hierarchy hands down at least one controller.

    Only on machines without systemd, and remembered, so that the last `down` takes it back.
    """
    if way() == "scope":
        return
    unified = unified_root()
    if (unified / "cgroup.subtree_control").read_text().strip():
        return
    if "hugetlb" in (unified / "cgroup.controllers").read_text().split():
        state.save_machine(state.load_machine() | {"controllers_set": ["hugetlb"]})
        (unified / "cgroup.subtree_control").write_text("+hugetlb")


def restore_machine():
    """Take back what prepare_machine set; called when no lab is left."""
    if way() == "scope":
        if not is_populated(unified_root() / SLICE):
            run(["systemctl", "stop", SLICE], check=False)
        return
    for path in own_paths():
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return  # labs with another state directory live there
    for name in state.load_machine().get("controllers_set", []):
        (unified_root() / "cgroup.subtree_control").write_text(f"-{name}")
    state.save_machine({})


def delegate(lab, host, deadline_s=120):
    """Hand the controllers down to the payload, as soon as nspawn has left the host's cgroup.

    A cgroup with processes of its own cannot do that, hence the wait; it is over long before
    the host starts libvirtd.
    """
    path = host_path(lab, host)
    started = time.monotonic()
    while not (path / "payload").is_dir() or (path / "cgroup.procs").read_text():
        spent = time.monotonic() - started
        if spent > deadline_s or (spent > START_S and not is_populated(path)):
            raise LabError(f"{host}: nspawn did not start")
        time.sleep(0.02)
    names = (unified_root() / "cgroup.subtree_control").read_text().split()
    # Above its scopes everything is systemd's, and Delegate=yes has done it.
    levels = (path,) if way() == "scope" else (path.parent.parent, path.parent, path)
    for level in levels:
        enable_controllers(level, names)


def processes(path):
    """Pids in a cgroup and below; empty when it does not exist."""
    pids = []
    for directory, _names, _files in os.walk(path):
        try:
            pids += [int(p) for p in pathlib.Path(directory, "cgroup.procs").read_text().split()]
        except OSError:
            continue  # removed while we walked
    return pids


def leader(path):
    """The host's PID 1 as the machine sees it, or None."""
    for pid in sorted(processes(path / "payload")):
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue  # ended while we looked
        ids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        if len(ids) > 1 and ids[-1] == "1":
            return pid
    return None


def is_populated(path):
    """Is any process left below path?"""
    try:
        return "populated 1" in (path / "cgroup.events").read_text()
    except OSError:
        return False


def is_frozen(path):
    """Was the whole cgroup told to freeze?"""
    try:
        return (path / "cgroup.freeze").read_text().strip() == "1"
    except OSError:
        return False


def running_threads(path):
    """Threads below path that are neither in the freezer nor wait uninterruptibly."""
    found = []
    for threads in path.rglob("cgroup.threads"):
        for tid in threads.read_text().split():
            try:
                waits_in = pathlib.Path(f"/proc/{tid}/wchan").read_text()
                state = pathlib.Path(f"/proc/{tid}/stat").read_text().rpartition(") ")[2][0]
            except OSError:
                continue  # it has ended
            if waits_in not in FREEZER_WAITS and state not in "DTZX":
                found.append(int(tid))
    return found


def set_frozen(path, frozen, deadline_s=60):
    """Freeze or thaw, and wait until the kernel says it is so. It never says so of a thread that waits for an answer of a
    FUSE mount whose process is in the freezer already: such a thread does not run, either."""
    (path / "cgroup.freeze").write_text("1" if frozen else "0")
    word = f"frozen {int(frozen)}"
    begin = time.monotonic()
    while word not in (path / "cgroup.events").read_text():
        if frozen and time.monotonic() > begin + STUCK_S and not running_threads(path):
            return
        if time.monotonic() > begin + deadline_s:
            raise LabError(f"{path.name}: not {word} after {deadline_s} s")
        time.sleep(0.01)


def kill(path):
    """End every process below path at once, frozen or not, and wait until they are gone."""
    try:
        (path / "cgroup.kill").write_text("1")
    except FileNotFoundError:
        return
    end = time.monotonic() + KILL_DEADLINE_S
    while is_populated(path):
        if time.monotonic() > end:
            raise LabError(f"{path}: processes still there {KILL_DEADLINE_S} s after the kill")
        time.sleep(0.01)


def remove_tree(path):
    """Remove a cgroup and those below it; all must be empty of processes."""
    for directory, _names, _files in os.walk(path, topdown=False):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue


def remove_host(lab, host):
    """Remove a host's cgroups in every hierarchy; in the scope way systemd does it."""
    if way() == "scope":
        run(["systemctl", "reset-failed", unit_name(lab, host)], check=False)
        return
    for path in own_paths(lab, host):
        remove_tree(path)


def end_lab(lab):
    """Kill everything of a lab and remove its cgroups.

    Again while something still enters them: an `up` that was killed may have left a start behind.
    """
    end = time.monotonic() + KILL_DEADLINE_S
    while True:
        for path in host_paths_of_lab(lab):
            kill(path)
        if way() == "scope":
            return
        try:
            for path in own_paths(lab):
                remove_tree(path)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
