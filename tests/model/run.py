#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The models of failover, checked by Spin: which model, with which limits or mutant, must say what.

    tests/model/run.py [--full] [NAME-PART …]     one line a row; exit code 1 when a verdict is wrong
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
JOBS = 2
HOLDS, VIOLATED, STUCK = "holds", "assertion violated", "invalid end state"
LIMIT_CPU_S = {"all": 60, "full": 5400}
MEMORY_MB = 3000  # for each of JOBS
# Debian's gcc warns about arrays that Spin indexes with a checked byte.
CC = ["gcc", "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MB}"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One run of Spin."""
    name: str
    model: str
    flags: str
    expected: str
    level: str = "all"
    bitstate: bool = False
    depth: int = 200000
    may_end: bool = False

    def compiler_flags(self):
        """How states are stored. A small search ends sooner than gcc -O2 does."""
        if self.level == "all":
            return ["-O1"]
        return ["-O2", "-DBITSTATE" if self.bitstate else "-DCOLLAPSE"]

    def pan_flags(self):
        """Depth; 2 GiB of bits and three hash functions for bitstate; whether an end is an error."""
        return ([f"-m{self.depth}", "-n"] + (["-w34", "-k3"] if self.bitstate else [])
                + (["-E"] if self.may_end else []))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What pan said."""
    said: str
    states: int
    cpu_s: float
    text: str


DEEP = 3000000
SHALLOW = 3000  # enough to find a mutant, and the stack stays small
E2 = "-DMAXE=2"
FENCE = [
    Row("S1 and S3 without partition or pause", "fence", f"-DNOPAUSE -DMAXPART=0 {E2} -DS3", HOLDS),
    Row("two failovers in a row are reachable", "fence", "-DREACH=3", VIOLATED, depth=20000),
    Row("mutant: no cut at the bricks", "fence", f"-DNODROP -DNOPAUSE -DMAXPART=1 {E2}", VIOLATED,
        depth=SHALLOW),
    Row("mutant: cut at 2 of 3 bricks", "fence", f"-DQUORUMONLY -DMAXPAUSE=1 -DMAXPART=1 {E2}",
        VIOLATED, depth=SHALLOW),
    Row("mutant: acknowledges before its promise is over", "fence",
        f"-DACKNOW -DNOPAUSE -DNOREJOIN -DMAXPART=0 {E2} -DS3", VIOLATED, depth=SHALLOW),
    Row("mutant: a pause without watchdog (S3)", "fence",
        f"-DNOREJOIN -DMAXPAUSE=1 -DMAXPART=0 {E2} -DS3", VIOLATED, depth=SHALLOW),
    Row("mutant: watchdog, but clocks stop (S3)", "fence",
        f"-DNOREJOIN -DMAXPAUSE=1 -DMAXPART=0 {E2} -DS3 -DWATCHDOG -DCLOCKSTOP", VIOLATED,
        depth=SHALLOW),
    Row("S1, one partition", "fence", f"-DMAXPAUSE=0 -DMAXPART=1 {E2}", HOLDS, "full", depth=DEEP),
    Row("S1 and S3, one partition", "fence", f"-DNOPAUSE -DMAXPART=1 {E2} -DS3", HOLDS, "full",
        depth=DEEP),
    Row("S1 and S3, one pause, watchdog", "fence",
        f"-DMAXPAUSE=1 -DMAXPART=0 {E2} -DS3 -DWATCHDOG", HOLDS, "full", depth=DEEP),
    Row("S1, one pause, one partition", "fence", f"-DMAXPAUSE=1 -DMAXPART=1 {E2}", HOLDS, "full",
        bitstate=True, depth=DEEP),
    Row("S1, one pause, one partition, two failovers", "fence",
        "-DMAXPAUSE=1 -DMAXPART=1 -DMAXE=3", HOLDS, "full", bitstate=True, depth=DEEP),
]
FENCE4 = [
    Row("S1 and S3 without partition or pause", "fence4", "-DMAXPART=0 -DS3", HOLDS),
    Row("a fence without the third brick's ack is reachable", "fence4", "-DREACHTHIRD", VIOLATED,
        depth=20000),
    Row("two failovers in a row are reachable", "fence4", "-DREACH=3 -DMAXE=3", VIOLATED,
        depth=SHALLOW),
    Row("mutant: 2 acks do, third brick alive", "fence4", "-DTWOACKS", VIOLATED, depth=SHALLOW),
    Row("mutant: no cut at the bricks", "fence4", "-DNODROP", VIOLATED, depth=SHALLOW),
    Row("mutant: a brick host boots open", "fence4", "-DOPENBOOT", VIOLATED, depth=SHALLOW),
    Row("S1, one partition", "fence4", "", HOLDS, "full", bitstate=True, depth=DEEP),
    Row("S1, one pause", "fence4", "-DMAXPART=0 -DMAXPAUSE=1", HOLDS, "full", bitstate=True,
        depth=DEEP),
]
MIGRATION = [
    Row("one owner, two crashes", "migration", "", HOLDS, may_end=True),
    Row("restart without waiting for the paused copy", "migration", "-DNOWAITDST", HOLDS,
        may_end=True),
    Row("resumed frozen, on a T7 of long ago, is reachable", "migration", "-DREACH", VIOLATED,
        may_end=True),
    Row("mutant: T7 before the source's QEMU has gone", "migration", "-DEARLYT7", VIOLATED,
        may_end=True),
    Row("mutant: the target is fenced without a freeze", "migration", "-DNOFREEZE", VIOLATED,
        may_end=True),
    Row("mutant: without PAUSED", "migration", "-DNOPAUSED", VIOLATED, may_end=True),
    Row("mutant: the copy of a dead source is promoted", "migration", "-DPROMOTE", VIOLATED,
        may_end=True),
]
SITE = "-DMAXC=0 -DMAXSITE=1"
REJOIN = [
    Row("no flip, one crash", "rejoin", "", HOLDS),
    Row("no flip, the site loses power", "rejoin", SITE, HOLDS),
    Row("no flip, image copied under the start rule", "rejoin", "-DCOPIER", HOLDS),
    Row("no flip, image copied after a look", "rejoin", "-DCOPIER -DLOOKS", HOLDS),
    Row("a laundered VM starts with a brick away", "rejoin", "-DREACH", VIOLATED),
    Row("mutant: the new owner does not launder", "rejoin", "-DNOLAUNDER", VIOLATED),
    Row("mutant: any coordinator launders", "rejoin", "-DANYLAUNDER", VIOLATED),
    Row("mutant: given up with a hung launder child", "rejoin", "-DGIVEUP", VIOLATED),
    Row("mutant: no start rule after a power loss", "rejoin", f"{SITE} -DNOSTARTRULE", VIOLATED),
    Row("mutant: image copied without the start rule", "rejoin", "-DCOPIER -DRAWCOPY", VIOLATED),
    Row("mutant: un-fenced without quorum, two crashes", "rejoin",
        "-DMAXC=2 -DLATEBLAME -DESCAPE", VIOLATED, may_end=True),
    Row("mutant: un-fenced with dirty shards, two crashes", "rejoin",
        "-DMAXC=2 -DLATEBLAME -DUNFENCEDIRTY", VIOLATED, may_end=True),
    Row("no flip, one crash, blame comes late", "rejoin", "-DLATEBLAME", HOLDS),
    Row("mutant: a host on its way back may fence, two crashes: dead end", "rejoin",
        "-DMAXC=2 -DANYFENCER", STUCK),
    Row("gap: the second crash within the second of a late blame", "rejoin",
        "-DMAXC=2 -DLATEBLAME -DUNSETTLED", VIOLATED, may_end=True),
    # What the models taught; README.md says what to make of it.
    Row("un-fenced with dirty shards, one crash: the start rule alone does", "rejoin",
        "-DCOPIER -DUNFENCEDIRTY", HOLDS),
    Row("'until none is listed': no start after laundering", "rejoin", "-DREACH -DUNTILNONE",
        HOLDS),
    Row("no flip and no dead end, two crashes", "rejoin", "-DMAXC=2", HOLDS, "full", depth=DEEP),
    Row("no flip and no dead end, two crashes, blame comes late", "rejoin",
        "-DMAXC=2 -DLATEBLAME", HOLDS, "full", depth=DEEP),
    Row("no flip, image copied after a look, two crashes, blame comes late", "rejoin",
        "-DCOPIER -DLOOKS -DMAXC=2 -DLATEBLAME", HOLDS, "full", depth=DEEP),
    Row("no flip, a crash and a lost brick", "rejoin", "-DMAXB=1", HOLDS, "full", depth=DEEP),
    Row("no flip, a crash and a power loss", "rejoin", "-DMAXSITE=1", HOLDS, "full", depth=DEEP),
    Row("un-fenced without quorum, blame in time, two crashes", "rejoin", "-DMAXC=2 -DESCAPE", HOLDS,
        "full", depth=DEEP),
    Row("un-fenced with dirty shards, blame in time, two crashes", "rejoin",
        "-DMAXC=2 -DUNFENCEDIRTY", HOLDS, "full", depth=DEEP),
]
GUARD = [
    Row("S3 over three guard restarts", "guard", "-DMAXR=3", HOLDS),
    Row("a fence across two restarts completes", "guard", "-DREACH", VIOLATED),
    Row("mutant: guard forgets the denial", "guard", "-DFORGET", VIOLATED),
    Row("mutant: no grace after its start", "guard", "-DNOGRACE", VIOLATED),
    Row("mutant: denied counts at once", "guard", "-DNOWAIT", VIOLATED),
    Row("mutant: answer of an older instance, late record", "guard", "-DOLDANSWER -DLATERECORD",
        VIOLATED),
    Row("record late, but the same instance confirms", "guard", "-DLATERECORD", HOLDS),
    Row("older instance's answer, but the record first", "guard", "-DOLDANSWER", HOLDS),
]
ROWS = FENCE + FENCE4 + MIGRATION + REJOIN + GUARD


def rows_of(full):
    """The rows of a run."""
    return [row for row in ROWS if full or row.level == "all"]


def judge(text):
    """The verdict in pan's words; an unfinished search proves nothing."""
    errors = re.search(r"errors: (\d+)", text)
    if errors is None:
        return "no verdict"
    if int(errors[1]):
        found = re.search(r"^pan:\d+: (assertion violated|invalid end state)", text, re.MULTILINE)
        return found[1] if found else "another error"
    if "Search not completed" in text or "max search depth too small" in text:
        return "not finished"
    return HOLDS


def run_row(row):
    """spin -a, gcc, pan, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="mortar-model-") as where:
        def step(*argv):
            return subprocess.run(argv, cwd=where, timeout=300, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        source = HERE / f"{row.model}.pml"
        built = step("spin", "-a", *row.flags.split(), str(source))
        if built.returncode == 0:
            built = step(*CC, *row.compiler_flags(), "-o", "pan", "pan.c")
        if built.returncode != 0:
            return Verdict("does not build", 0, 0.0, built.stdout)
        log = pathlib.Path(where) / "log"
        with open(log, "w") as out:
            pan = subprocess.Popen(["prlimit", f"--cpu={LIMIT_CPU_S[row.level]}", "./pan",
                                    *row.pan_flags()], cwd=where, stdout=out,
                                   stderr=subprocess.STDOUT)
            _pid, status, usage = os.wait4(pan.pid, 0)
            pan.returncode = os.waitstatus_to_exitcode(status)
        text = log.read_text()
        states = re.search(r"(\d+) states, stored", text)
        return Verdict(judge(text), int(states[1]) if states else 0,
                       usage.ru_utime + usage.ru_stime, text)


def main():
    """All rows, or those with a word in their name or model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true", help="also what takes minutes and gigabytes")
    parser.add_argument("words", nargs="*", help="only rows with one of these in model and name")
    args = parser.parse_args()
    rows = [row for row in rows_of(args.full)
            if not args.words or any(w in f"{row.model}: {row.name}" for w in args.words)]
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for row, verdict in zip(rows, pool.map(run_row, rows)):
            right = verdict.said == row.expected
            wrong += not right
            print(f"{'ok   ' if right else 'WRONG'} {row.model}: {row.name}: {verdict.said}, "
                  f"{verdict.states} states, {verdict.cpu_s:.1f} s CPU", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
