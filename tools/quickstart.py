#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows Mortar on this machine: three hosts, one mirrored pool, a VM that moves while it writes, and survives
the power cut of its host.

    sudo ./quickstart                  from nothing to a live migration and a failover; again: once more
    sudo ./quickstart --guest debian   the same with a full Debian that cloud-init sets up: some minutes more
    sudo ./quickstart --down           remove the hosts; packages and the cached images stay

Every step is the command a user would type on real machines; it is printed before it runs.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TREE / "lab"), str(TREE / "tools")]

import packages  # noqa: E402  (the path must come first)
from mortarcluster import (Cluster, CommandFailed, Console, DebianGuest, Guest, Recorder,  # noqa: E402
                           TimeLine)
from mortarcluster import debian as debian_module  # noqa: E402
from mortarcluster import guest as guest_module  # noqa: E402
from mortarcluster.timeline import STEPS as TIME_LINE  # noqa: E402
from mortarlab import Lab, LabError, capability, image  # noqa: E402

GROUPS = ["build", "lab"]
MEMORY_MIB = 2500
DISK_GIB = 6
DEBIAN_MEMORY_MIB = 1000  # more: the guest has 768
DEBIAN_DISK_GIB = 7       # more: the image in the cache and on the pool, the guest's disk, each mirrored
TICK = r"tick (\d+) on"  # of guest/debian-user-data
TICKS_TO_SEE = 6         # seconds of the guest's life around each move
LOAD_S = 4  # of writing before and after each move


class Refused(Exception):
    """The machine cannot do it; says why and what to do."""


def say(text=""):
    """One line for the reader."""
    print(text, flush=True)


class Step:
    """A numbered step with its time: with Step("hosts"): …"""
    number = 0

    def __init__(self, title):
        self.title = title

    def __enter__(self):
        Step.number += 1
        self.started = time.monotonic()
        say(f"\n[{Step.number}] {self.title}")

    def __exit__(self, kind, *_):
        if kind is None:
            say(f"    done in {time.monotonic() - self.started:.1f} s")


def memory_mib():
    """What the kernel would give to new programs."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def disk_gib(path):
    """Free space where path is or will be."""
    where = pathlib.Path(path)
    while not where.exists():
        where = where.parent
    return shutil.disk_usage(where).free >> 30


def tell_costs(is_debian, lacking):
    """Network traffic and minutes, of what is not cached yet."""
    megabytes = 0 if image.base_path().is_dir() and not lacking else 450
    minutes = 4 if not megabytes else 7
    if is_debian:
        is_built = debian_module.is_built()
        megabytes += 0 if is_built else 250
        minutes += 4 if is_built else 6
    say("  network  " + (f"about {megabytes} MB from Debian's mirror, only this first time"
                         if megabytes else "none"))
    say(f"  minutes  about {minutes}, more on a slow or busy machine")


def tell_plan(name, is_debian):
    """What it needs and changes, before anything is done."""
    lacking = packages.missing(GROUPS)
    needed_mib = MEMORY_MIB + (DEBIAN_MEMORY_MIB if is_debian else 0)
    needed_gib = DISK_GIB + (DEBIAN_DISK_GIB if is_debian else 0)
    os_name = dict(line.split("=", 1) for line in
                   pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    say("Mortar quickstart: three hosts, one mirrored pool, a VM that moves while it writes, and survives the "
        "power cut of its host")
    say()
    say(f"  needs    Debian 12 ({os_name.get('PRETTY_NAME', '?').strip(chr(34))}), root; "
        f"{needed_mib} MiB of memory ({memory_mib()} available); "
        f"{needed_gib} GiB below /var ({disk_gib('/var/lib/mortar-lab')} free)")
    tell_costs(is_debian, lacking)
    say("  changes  " + (f"installs {len(lacking)} Debian packages: {' '.join(lacking)}" if lacking
                         else "installs no package: all are there"))
    say("           caches images in /var/cache/mortar; builds in build-debs/ of this tree")
    say(f"           lab '{name}': containers, network namespaces and loop devices; no network")
    say("           card, firewall rule or service of this machine (docs/lab.md has the list)")
    say(f"  undo     sudo ./quickstart --down{'' if name == 'quickstart' else ' --name ' + name}")
    if os_name.get("ID") != "debian" or os_name.get("VERSION_ID", "").strip('"') != "12":
        raise Refused("this is not Debian 12; Mortar is built and tried there only")
    if os.uname().machine != "x86_64":
        raise Refused(f"this machine is {os.uname().machine}; the demo guest is for x86_64")
    if memory_mib() < needed_mib:
        raise Refused(f"{memory_mib()} MiB of memory are available, {needed_mib} are needed")
    if disk_gib("/var/lib/mortar-lab") < needed_gib:
        raise Refused(f"below /var {disk_gib('/var/lib/mortar-lab')} GiB are free, "
                      f"{needed_gib} are needed")


def prepare(is_debian):
    """Packages, our .debs, the guest: the directory of the .debs, and the guest's directory or image."""
    with Step("install what is missing from Debian, and find out what this machine can do"):
        packages.install(GROUPS)
        for line in capability.format_table(capability.find_capabilities()):  # tries the tools just installed
            say(f"    {line}")
    debs = TREE / "build-debs"
    with Step("build Mortar's packages"):
        done = subprocess.run([TREE / "packaging/build-debs", "--out", debs], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for deb in done.stdout.split():
            say(f"    {os.path.relpath(deb, TREE)}")
    if is_debian:
        with Step("build the guest: a Debian disk with GRUB, cloud kernel, cloud-init and sshd"):
            return debs, debian_module.build()
    with Step("build the demo guest: Debian's kernel, and a program that writes numbered blocks"):
        directory = guest_module.build()
    return debs, directory


def tell_command(host, words):
    """The command as a user would type it."""
    shown = " ".join(f'"{w}"' if " " in w else w for w in words)
    say(f"    {host}# mortar {shown}")


def bring_up(cluster, debs):
    """Hosts, cluster, pool: each only where it is not there yet."""
    with Step("start three hosts: Debian with systemd, two with a data disk, one small witness"):
        for line in f"{cluster.lab.up(hosts=3, debs=debs):.1f} s until all have booted".splitlines():
            say(f"    {line}")
    with Step("make them one cluster"):
        cluster.form()
    with Step("make a pool: every block on host1 and host2, host3 is the judge"):
        cluster.create_pool()


def bring_up_tiny(cluster, directory):
    """The demo guest, running."""
    guest = Guest(cluster)
    with Step("create a VM whose guest writes numbered, time-stamped blocks to its disk"):
        for host in ("host1", "host2"):
            guest.put_files(directory, host)
        if guest.name not in cluster.names("host1", "vm"):
            guest.create()
        elif guest.seen()["state"] != "running":
            cluster.change("host1", "vm", "start", guest.name)
    say()
    say(cluster.mortar("host1", "status").stdout.rstrip())
    return guest


def move(guest, heart, to):
    """One live migration under load; (total ms, blackout as the product, as the guest saw it)."""
    newest = heart.wait_for(lambda line: line[1] != to)
    flushed = newest[3]["flushed"]
    heart.wait_for(lambda line: line[3]["flushed"] > flushed + 10)
    start = heart.mark()
    time.sleep(LOAD_S)
    last = guest.migrate(to)
    heart.wait_for(lambda line: line[1] == to)
    time.sleep(LOAD_S)
    outside_ms, is_forward = heart.handover_ms(start, to)
    if not is_forward:
        raise AssertionError("the guest's clock went backwards or a beat came twice")
    return last["total_ms"], last["blackout_ms"], outside_ms


def show_moves(cluster, guest):
    """There and back while it writes; the last number the guest had flushed."""
    with Recorder(cluster.lab, guest.name) as heart:
        rows = []
        for _ in range(2):
            source = guest.seen()["host"]
            target = "host2" if source == "host1" else "host1"
            with Step(f"move the running VM from {source} to {target}"):
                rows.append((f"{source} → {target}", *move(guest, heart, target)))
        written = heart.last()[3]
    say()
    say(f"    {'MOVE':16} {'TOTAL':>9} {'PAUSED':>9} {'GUEST SAW':>10}")
    for name, total, paused, outside in rows:
        paused = "?" if paused is None else f"{paused} ms"
        say(f"    {name:16} {f'{total} ms':>9} {paused:>9} {f'{outside:.0f} ms':>10}")
    say("    paused: as Mortar measured it, from QEMU's stop on one host to its start on the other;")
    say("    guest saw: the longest silence of its 5 ms heartbeat, stamped outside the hosts")
    return written["flushed"]


def judge(cluster, guest, flushed):
    """Stop, look at every block, start again."""
    with Step("stop the VM and look at every block of its disk"):
        where = guest.seen()["host"]
        cluster.change("host1", "vm", "stop", guest.name)
        verdict = guest.judge(where, flushed)
        if not verdict["ok"]:
            raise AssertionError(f"the disk's history is broken: {verdict['violations'][:5]}")
        say(f"    {verdict['checked_blocks']} blocks checked, numbers up to {verdict['last_seq']}: "
            "none lost, none out of order")
        cluster.change("host1", "vm", "start", guest.name)


def switch_failover_on(cluster):
    """Before the VM is started anew: a machine that runs already is covered from its next start on."""
    with Step("switch failover on: every host proves its part first"):
        cluster.change("host1", "pool", "ha", "vms")


def show_failover(cluster, guest):
    """The power of the guest's host is cut; what was true when, and the guest's own gap."""
    lost = guest.seen()["host"]
    with Recorder(cluster.lab, guest.name) as heart:
        heart.wait_for(lambda beat: beat[1] == lost)
        time.sleep(LOAD_S)
        with Step(f"cut the power of {lost}, where the VM runs"):
            line = TimeLine(cluster.lab, guest.name, lost)
            cluster.lab.cut(lost)
            first = heart.wait_for(lambda beat: beat[1] != lost, 120)
            last = [beat for beat in heart.lines if beat[1] == lost][-1]
            for step, seconds in line.seconds().items():
                say(f"    {seconds:6.1f} s  {TIME_LINE[step]}")
            say(f"    {first[0] - line.began:6.1f} s  the guest has booted and writes again")
            say("    times are those of the other hosts' flight records; the guest's own gap: "
                f"{first[0] - last[0]:.1f} s without a heartbeat, its boot included")
    with Step(f"give {lost} its power back: it is let in, healed, and trusted again"):
        started = time.monotonic()
        cluster.lab.boot(lost)
        cluster.wait_until(f"{lost} is online", lambda: is_online(cluster, lost), 300)
        say(f"    {time.monotonic() - started:6.1f} s until it was a full member")


def is_online(cluster, host):
    """Does the witness say so?"""
    try:
        hosts = cluster.show("host3", "host", "ls")["items"]
    except (CommandFailed, LabError, subprocess.SubprocessError, ValueError):
        return False  # etcd has no leader just now: asked again
    return next(h["state"] for h in hosts if h["name"] == host) == "online"


def bring_up_debian(cluster, path):
    """The Debian guest, booted as far as cloud-init goes."""
    guest = DebianGuest(cluster)
    with Step("create a VM from the Debian image, with a key and cloud-init's user-data"):
        guest.put_files(path, "host1")
        is_up = guest.name in cluster.names("host1", "vm") and guest.seen()["state"] == "running"
        if guest.name not in cluster.names("host1", "vm"):
            guest.create()
        elif not is_up:
            cluster.change("host1", "vm", "start", guest.name)
    if not is_up:
        with Step("wait until it has booted: on an emulated processor that takes minutes"):
            started = time.monotonic()
            guest.wait_booted(lambda words: say(f"    {time.monotonic() - started:4.0f} s  {words}"))
    say()
    say(cluster.mortar("host1", "status").stdout.rstrip())
    return guest


def show_debian_moves(cluster, guest):
    """There and back, with the console open on the third host."""
    rows = []
    with Console(cluster, "host3", guest.name, lambda line: say(f"    console | {line}")) as console:
        for _ in range(2):
            source = guest.seen()["host"]
            target = "host2" if source == "host1" else "host1"
            with Step(f"move the running VM from {source} to {target}; host3 watches its console"):
                mark = len(console.lines)
                tick = int(console.wait_for(TICK, debian_module.BOOT_DEADLINE_S, mark)[1])
                last = guest.migrate(target)
                console.wait_for(f"tick {tick + TICKS_TO_SEE} on {guest.name}", 120, mark)
            rows.append((f"{source} → {target}", last["total_ms"], last["blackout_ms"]))
        ticks = [int(found[1]) for line in console.lines if (found := re.search(TICK, line))]
    if ticks != list(range(ticks[0], ticks[0] + len(ticks))):
        raise AssertionError(f"the guest's count has a hole or a step back: {ticks}")
    say()
    say(f"    {'MOVE':16} {'TOTAL':>9} {'PAUSED':>9}")
    for name, total, paused in rows:
        say(f"    {name:16} {f'{total} ms':>9} {f'{paused} ms':>9}")
    say(f"    it counted from {ticks[0]} to {ticks[-1]}; the console missed none of it")


def tell_next(args, guest, seconds):
    """What to try now."""
    option = "" if args.name == "lab" else f" --name {args.name}"
    down = "" if args.name == "quickstart" else f" --name {args.name}"
    say(f"""
Done in {seconds:.0f} s. The cluster is up; try

    sudo lab/mortar-lab shell{option}            a shell on host1, in which `mortar` works:
        mortar status
        mortar vm show {guest.name}
        mortar vm migrate {guest.name}
        mortar vm console {guest.name:16}          Ctrl-] leaves
        mortar pool show vms
    sudo ./quickstart --down{down}                        remove it all""")


def run(args):
    """All steps."""
    started = time.monotonic()
    is_debian = args.guest == "debian"
    tell_plan(args.name, is_debian)
    debs, made = prepare(is_debian)
    cluster = Cluster(Lab(args.name), tell_command)
    bring_up(cluster, debs)
    if is_debian:
        guest = bring_up_debian(cluster, made)
        show_debian_moves(cluster, guest)
    else:
        guest = bring_up_tiny(cluster, made)
        flushed = show_moves(cluster, guest)
        switch_failover_on(cluster)
        judge(cluster, guest, flushed)
        show_failover(cluster, guest)
        judge(cluster, guest, None)
    tell_next(args, guest, time.monotonic() - started)


def main():
    """Parse, run, and say what to do about a failure."""
    parser = argparse.ArgumentParser(prog="quickstart", description=__doc__.split("\n\n")[0])
    parser.add_argument("--down", action="store_true", help="remove the hosts")
    parser.add_argument("--name", default="quickstart", help="of the lab (%(default)s)")
    parser.add_argument("--guest", choices=["tiny", "debian"], default="tiny",
                        help="which guest to show: one that writes numbered blocks, or a full Debian "
                             "(%(default)s)")
    args = parser.parse_args()
    os.environ.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory",
                      GIT_CONFIG_VALUE_0=str(TREE))  # the clone may belong to another user than root
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.down:
            Lab(args.name).down()
            say(f"lab '{args.name}' is removed")
        else:
            run(args)
    except Refused as error:
        sys.exit(f"\nquickstart: {error}")
    except KeyboardInterrupt:
        sys.exit("\nquickstart: stopped; the same command goes on, --down removes everything")
    except (CommandFailed, LabError, AssertionError, TimeoutError, subprocess.SubprocessError) as error:
        sys.exit(f"\nquickstart: {error}\n\nThe hosts are left as they are. Look with\n"
                 f"    lab/mortar-lab exec --name {args.name} host1 -- journalctl -u mortard -n 50\n"
                 "or run the same command again; --down removes everything.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
