# SPDX-License-Identifier: Apache-2.0
"""mortar-lab's command line: parsing and printing, nothing else.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage; `exec` and `shell` pass the command's own.
"""

import argparse
import contextlib
import json
import os
import sys
import threading

from . import capability, image
from .command import LabError, say
from .hook import PowerHook
from .lab import DATA_DISK, Lab, down_all

DEFAULT_NAME = "lab"


def make_parser():
    """All commands and their options; each has `run`, a function of this file."""
    parser = argparse.ArgumentParser(prog="mortar-lab", description="bare metal on one machine")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    named = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("MORTAR_LAB", DEFAULT_NAME)
    named.add_argument("--name", default=default, help=f"which lab ({default})")

    def verb(name, run, about, parents=(named,)):
        command = verbs.add_parser(name, help=about, description=about, parents=parents)
        command.set_defaults(run=run)
        return command

    up = verb("up", run_up, "make the lab and boot its hosts; again: what is missing")
    up.add_argument("--hosts", type=int, metavar="N", help="how many (3)")
    up.add_argument("--disk-size", metavar="SIZE", help=f"of a data disk, sparse ({DATA_DISK})")
    up.add_argument("--witness", action=argparse.BooleanOptionalAction,
                    help="the last host has a small disk only (with three hosts)")
    up.add_argument("--4kn", dest="disks_4kn", metavar="HOST,…", default="",
                    help="hosts whose data disks have logical sectors of 4096 bytes")
    up.add_argument("--small-roots", metavar="HOST,…", default="",
                    help="hosts whose root is a disk of 1G, which may be filled")
    up.add_argument("--uplinks", action="store_true", default=None,
                    help="each host has a card wan0 to a third network, the outside")
    up.add_argument("--debs", metavar="DIR", help="install the packages in DIR in each host")
    down = verb("down", run_down, "remove the lab without a trace")
    down.add_argument("--all", action="store_true", help="remove every lab of this machine")
    status = verb("status", run_status, "show the hosts")
    status.add_argument("--json", action="store_true")
    execute = verb("exec", run_exec, "run a command in a host; its exit code, its stdin")
    execute.add_argument("host")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    shell = verb("shell", run_shell, "a root shell in a host")
    shell.add_argument("host", nargs="?", default="host1")
    for name, about in (
        ("cut", "take a host's power"),
        ("boot", "give it back, and wait until the host is up"),
        ("resume", "end a hang"),
    ):
        verb(name, run_on_host, about).add_argument("host")
        verbs.choices[name].set_defaults(action=name)
    hang = verb("hang", run_hang, "stop all processes of a host")
    hang.add_argument("host")
    hang.add_argument("--cut", action="store_true", help="its links fall silent too")
    partition = verb("partition", run_partition, "drop all packets between hosts")
    partition.add_argument("host")
    partition.add_argument("other", nargs="?")
    partition.add_argument("--all", action="store_true", help="between HOST and all others")
    partition.add_argument("--net", choices=["storage", "mgmt"], help="only in this network")
    verb("heal", run_heal, "take back all partitions")
    disk = verb("disk", run_disk, "hurt a host's data disk; free ends fill and slow")
    disk.add_argument("host")
    disk.add_argument("action", choices=["fill", "fill-root", "error", "slow", "free"])
    verb("hook", run_hook, "stand at the power switches for mortar drill, until Ctrl-C")
    capabilities = verb("capabilities", run_capabilities, "what this machine can do", ())
    capabilities.add_argument("--json", action="store_true")
    verb("image", run_image, "build the base image if its recipe changed, and name it", ())
    return parser


def run_up(args):
    """up: the capability table first, so that a log explains what was skipped."""
    for line in capability.format_table(capability.find_capabilities()):
        say(line)
    lab = Lab(args.name)
    disks_4kn = [name for name in args.disks_4kn.split(",") if name]
    seconds = lab.up(args.hosts, args.disk_size, args.witness, args.debs, disks_4kn,
                     args.uplinks, [name for name in args.small_roots.split(",") if name])
    say(f"lab {args.name!r} is up after {seconds:.1f} s")
    print_status(lab.status())


def run_down(args):
    """down, one or all"""
    if args.all:
        down_all()
    else:
        Lab(args.name).down()


def run_status(args):
    """status"""
    status = Lab(args.name).status()
    if args.json:
        print(json.dumps(status, indent=1))
    else:
        print_status(status)


def print_status(status):
    """The hosts as a table."""
    print(f"{'HOST':8} {'STATE':9} {'ROLE':8} {'ADDRESS':15} STORAGE")
    for host in status["hosts"]:
        print(f"{host['name']:8} {host['state']:9} {host['role']:8} {host['address']:15} "
              f"{host['storage_address']}{'  no links' if host['isolated'] else ''}")
    for short, host, other in status["cuts"]:
        print(f"cut: {host} | {'all' if other == '*' else other} ({short})")


def run_exec(args):
    """exec HOST -- CMD"""
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise LabError("no command given", "mortar-lab exec HOST -- CMD")
    return Lab(args.name).host(args.host).call(argv)


def run_shell(args):
    """shell [HOST]"""
    return Lab(args.name).host(args.host).call(["bash", "--login"])


def run_on_host(args):
    """cut, boot, resume: methods of that name"""
    getattr(Lab(args.name), args.action)(args.host)


def run_hang(args):
    """hang HOST [--cut]"""
    Lab(args.name).hang(args.host, cut_links=args.cut)


def run_partition(args):
    """partition A B | A --all"""
    if args.all == (args.other is not None):
        raise LabError("say whom from: another host, or --all")
    Lab(args.name).partition(args.host, args.other, args.net)


def run_heal(args):
    """heal"""
    Lab(args.name).heal()


def run_disk(args):
    """disk HOST ACTION"""
    Lab(args.name).disk(args.host, args.action)


def run_hook(args):
    """hook"""
    with PowerHook(Lab(args.name)) as hook:
        print("at the switches; Ctrl-C ends this", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    for error in hook.errors:
        print(error, file=sys.stderr)


def run_capabilities(args):
    """capabilities"""
    table = capability.find_capabilities()
    if args.json:
        print(json.dumps(table, indent=1))
    else:
        print("\n".join(capability.format_table(table)))


def run_image(_args):
    """image"""
    capability.require_tools()
    print(image.ensure_base())


def main(argv=None):
    """Parse, run, and tell errors in one voice."""
    args = make_parser().parse_args(argv)
    try:
        if os.geteuid() != 0 and args.run is not run_capabilities:
            raise LabError("only root can make, see or enter a lab", "sudo mortar-lab …")
        return args.run(args) or 0
    except LabError as error:
        print(f"mortar-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mortar-lab: stopped; the same command again goes on, `down` cleans up",
              file=sys.stderr)
        return 130
