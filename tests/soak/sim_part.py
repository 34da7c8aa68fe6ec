# SPDX-License-Identifier: Apache-2.0
"""The simulator's part of a soak: random schedules of all kinds, by seed, in processes side by side."""

import concurrent.futures
import json
import subprocess
import sys
import threading
import time

KINDS = ("failover", "moves", "restore")
PIECE = 250  # schedules of one process: some seconds
ADDED = ("schedules", "simulated_hours", "events", "core_steps", "guest_writes", "watchdog_resets",
         "freezes", "cpu_seconds")


def prepare(tree, directory):
    """The program, compiled as released but with its assertions unless the directory is another one. Path."""
    program = f"{directory}/tests/sim/schedules"
    steps = [["ninja", "-C", directory, "tests/sim/schedules"]]
    if not (tree / directory / "build.ninja").exists():
        steps.insert(0, ["meson", "setup", directory, "--buildtype=release", "-Db_ndebug=false",
                         "-Db_lto=true", "-Dprefer_static=true"])
    for argv in steps:
        done = subprocess.run(argv, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(argv)}:\n{done.stdout.decode(errors='replace')[-3000:]}")
    return tree / program


def tree_name(tree):
    """Which commit it is, for the summary."""
    argv = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(argv, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip() or "unknown"


def run_piece(program, kind, first, count, until):
    """One process. What it reports; what aborted counts as a violation of that seed."""
    seconds = until - time.monotonic()
    argv = [program, kind, str(first), str(count)]
    if seconds != float("inf"):
        argv.append(f"{max(seconds, 0.1):.1f}")
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    lines = done.stdout.decode().splitlines()
    report = json.loads(lines[-1]) if lines else {}
    if "aborted" in report:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        report = {"kind": kind, "first": first, "next": report["aborted"] + 1, "faults": {},
                  "violations": [{"seed": report["aborted"], "what": "\n".join(words[-3:])}],
                  **dict.fromkeys(ADDED, 0)}
    elif "next" not in report:
        raise RuntimeError(f"{argv}: exit code {done.returncode}: {done.stderr.decode()[-1000:]}")
    return report


def add(state, report):
    """A piece to the sums of its kind. Pieces end in any order; gaps are closed by who fills them."""
    kind = report["kind"]
    sums = state.data["sim"][kind]
    sums["pieces"].append([report["first"], report["next"]])
    sums["pieces"].sort()
    while sums["pieces"] and sums["pieces"][0][0] == sums["next"]:
        sums["next"] = sums["pieces"].pop(0)[1]
    for name in ADDED:
        sums[name] += report[name]
    for name, count in report["faults"].items():
        sums["faults"][name] = sums["faults"].get(name, 0) + count
    sums["violations"] += [{"kind": kind, **v} for v in report["violations"]]
    state.save()


def begin(state):
    """Sums of a kind that has not been run yet."""
    first = state.data["first_seed"]
    for kind in KINDS:
        state.data["sim"].setdefault(kind, {
            "first": first, "next": first, "pieces": [], "faults": {}, "violations": [],
            **dict.fromkeys(ADDED, 0)})


def ranges(state, total, kinds):
    """Pieces that are still to be run, all @kinds in turn, so that each has its share of the time."""
    left = {kind: total // len(kinds) + (total % len(kinds) if kind == kinds[0] else 0) for kind in kinds}
    at = {kind: state.data["sim"][kind]["next"] for kind in kinds}
    while any(left.values()):
        for kind in kinds:
            done = [p for p in state.data["sim"][kind]["pieces"] if p[0] == at[kind]]
            if done:  # by a run that was stopped before the piece in front of it had ended
                at[kind] = done[0][1]
            ahead = [p[0] for p in state.data["sim"][kind]["pieces"] if p[0] > at[kind]]
            count = min(PIECE, left[kind], *[p - at[kind] for p in ahead])
            if count:
                yield kind, at[kind], count
            at[kind] += count
            left[kind] -= count


def run(program, state, total, kinds, jobs, until):
    """As many schedules as asked for, or until the time is over."""
    begin(state)
    todo = list(ranges(state, total, kinds))
    lock = threading.Lock()

    def work(kind, first, count):
        while count and time.monotonic() < until:
            report = run_piece(program, kind, first, count, until)
            with lock:
                if report["next"] > first:
                    add(state, report)
            count -= report["next"] - first
            first = report["next"]

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(work, *piece) for piece in todo]
        try:
            for future in waiting:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
