# SPDX-License-Identifier: Apache-2.0
"""Traces that a killed test can leave on the machine, and how to remove exactly those."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import process

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "lab"))

from mortarlab import Lab, state  # noqa: E402  (the path must come first)

LAB_NAME = re.compile(r"test-(\d+)-\d+")


def remove_of(temporary):
    """After a suite: labs whose test process has gone, and all that is below temporary."""
    removed = remove_labs()
    removed += remove_below(temporary)
    for path in temporary.iterdir() if temporary.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return removed


def remove_all():
    """What any killed run left."""
    removed = remove_labs()
    for path in pathlib.Path("/tmp").glob(process.TEMPORARY_PREFIX + "*"):
        owner = path.name[len(process.TEMPORARY_PREFIX):].split("-")[0]
        if not os.path.exists(f"/proc/{owner}"):
            removed += remove_below(path) + [str(path)]
            shutil.rmtree(path, ignore_errors=True)
    return removed


def remove_labs():
    """Take down the labs of tests that no longer live."""
    removed = []
    for name in state.list_labs():
        match = LAB_NAME.fullmatch(name)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            Lab(name).down()
            removed.append(f"lab {name}")
    return removed


def remove_below(directory):
    """Unmount and detach what lives below directory."""
    removed = []
    prefix = f"{directory}/"
    mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    for where in reversed([m for m in mounts if m.startswith(prefix)]):
        subprocess.run(["umount", "--lazy", where], check=False)
        removed.append(f"mount {where}")
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            file = backing.read_text().strip()
        except OSError:
            continue
        if file.startswith(prefix):
            device = f"/dev/{backing.parts[3]}"
            subprocess.run(["losetup", "--detach", device], check=False)
            removed.append(f"loop device {device}")
    return removed
