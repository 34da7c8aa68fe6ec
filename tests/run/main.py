#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites of this tree and counts promises kept, broken and not tried.

    ./test            everything that fits into 40 minutes on two cores
    ./test quick      build, unit, golden, purity, fuzz corpora: 3 minutes
    ./test --full     everything there is; stopped half-way, the same command goes on from there
    ./test --only unit,lab
    ./test --down     remove what a killed run left behind

The last line is "N passed, N failed[, N skipped]"; exit code 0 when nothing failed.
"""

import argparse
import fcntl
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import leftovers  # noqa: E402  (the path must come first)
import resume  # noqa: E402
import results  # noqa: E402
import suites  # noqa: E402
from process import Interrupted, Runner  # noqa: E402

TREE = pathlib.Path(__file__).resolve().parents[2]
WORK = TREE / "build-test"


def parse_arguments(argv):
    """The command line as a namespace."""
    parser = argparse.ArgumentParser(
        prog="test", description=__doc__.split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="suites: " + ", ".join(s.name for s in suites.SUITES))
    parser.add_argument("which", nargs="?", choices=["quick", "all"], default="all")
    parser.add_argument("--full", action="store_true", help="everything there is, resumable")
    parser.add_argument("--only", metavar="SUITE,…", help="these suites (build always runs)")
    parser.add_argument("--daemons", action="store_true",
                        help="install etcd and GlusterFS here for the integration suite")
    parser.add_argument("--seed", type=int, help="of everything random (default: a new one)")
    parser.add_argument("--down", action="store_true",
                        help="remove what a killed run left behind, and run nothing")
    args = parser.parse_args(argv)
    args.level = "full" if args.full else args.which
    args.daemons = args.daemons or os.environ.get("CI") == "true"
    return args


def choose(args):
    """The suites to run, in order."""
    if not args.only:
        return [s for s in suites.SUITES if suites.LEVELS.index(args.level) >= s.level_index()]
    wanted = args.only.split(",")
    known = {s.name for s in suites.SUITES}
    for name in wanted:
        if name not in known:
            sys.exit(f"test: no suite {name!r}; there are {', '.join(sorted(known))}")
    return [s for s in suites.SUITES if s.name in wanted or s.name in ("packages", "build")]


def run_suite(suite, runner, settings):
    """One suite from first to last; its Tally. Nothing it started survives."""
    tally = results.Tally()
    started = time.monotonic()
    print(f"== {suite.name}: {suite.about}", flush=True)
    try:
        suite.run(runner, settings, tally)
    finally:
        runner.end_descendants()
        for what in leftovers.remove_of(runner.temporary):
            print(f"   removed after {suite.name}: {what}", flush=True)
    words = f"   {tally.line()} ({time.monotonic() - started:.0f} s)"
    print(words, flush=True)
    for name, text in tally.failures:
        print(f"   FAILED {name}" + "".join(f"\n      {line}" for line in text.splitlines()),
              flush=True)
    return tally


def run_all(chosen, runner, settings, memory):
    """Every suite; the sum. After a failed build nothing else can run."""
    total = results.Tally()
    for suite in chosen:
        before = memory.recall(suite.name)
        if before is not None:
            print(f"== {suite.name}: done before, {before.line()}", flush=True)
            total.add(before)
            continue
        tally = run_suite(suite, runner, settings)
        total.add(tally)
        if not tally.failures:
            memory.remember(suite.name, tally)
        elif suite.name in ("packages", "build"):
            print("   the rest cannot run without it", flush=True)
            break
    return total


def report(total, seed, started):
    """What a reader of the end of the log needs; the last line is a contract."""
    reasons = {}
    for name, reason in total.skips:
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        print(f"skipped: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}: {reason}")
    for name, _text in total.failures:
        print(f"failed: {name}")
    print(f"seed {seed}, {time.monotonic() - started:.0f} s, logs in {WORK / 'logs'}")
    print(total.line(), flush=True)


def main():
    """Parse, lock, run, report."""
    args = parse_arguments(sys.argv[1:])
    if args.down:
        for what in leftovers.remove_all():
            print(f"removed {what}")
        return 0
    WORK.mkdir(exist_ok=True)
    lock = open(WORK / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("test: another ./test runs in this tree")
    started = time.monotonic()
    memory = resume.Memory(WORK / "resume.json", TREE, args.level == "full" and not args.only)
    seed = args.seed if args.seed is not None else memory.seed or random.SystemRandom().getrandbits(31)
    memory.begin(seed)
    print(f"mortar tests: {args.only or args.level}, seed {seed}", flush=True)
    # SIGINT too: a shell starts background jobs with it ignored.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.default_int_handler)
    runner = Runner(TREE, WORK / "logs", seed, args.level == "full")
    settings = suites.Settings(TREE, args.level, args.daemons, memory)
    total = results.Tally()
    try:
        total = run_all(choose(args), runner, settings, memory)
    except (KeyboardInterrupt, Interrupted):
        total.fail("run", "stopped by a signal")
        print("stopped", flush=True)
    finally:
        runner.close()
    report(total, seed, started)
    if not total.failures:
        memory.forget()
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
