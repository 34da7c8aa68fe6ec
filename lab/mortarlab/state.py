# SPDX-License-Identifier: Apache-2.0
"""What a lab is, on disk: /var/lib/mortar-lab/NAME/.

The plan (names, sizes, networks, links that are cut) is written before anything is made from it.
Resources carry the lab's name, so `down` finds them with or without a plan.

    NAME/state.json              the plan
    NAME/disks/HOST.img          sparse file behind the host's data disk
    NAME/hosts/HOST/{upper,work,root,console.log}

/run/mortar-lab.json is what labs changed on the machine and the last `down` undoes; a reboot of
the machine undoes it too, hence /run.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re

from .command import LabError, inherited

ROOT = pathlib.Path(os.environ.get("MORTAR_LAB_STATE") or "/var/lib/mortar-lab")
MACHINE = pathlib.Path("/run/mortar-lab.json")
LOCKS = pathlib.Path("/run/lock")
# A name becomes part of cgroup, namespace and file names, and must not run into the dots there.
NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")


def check_name(name):
    """Refuse a lab name that could not be part of every other name."""
    if not NAME.fullmatch(name):
        raise LabError(f"bad lab name {name!r}", "a-z, 0-9 and -, a letter first, at most 20")


def lab_dir(name):
    """Everything of one lab that is a file."""
    return ROOT / name


def list_labs():
    """Names of all labs of this machine, also of half-made ones."""
    return sorted(p.name for p in ROOT.iterdir() if p.is_dir()) if ROOT.is_dir() else []


def drop_root():
    """Remove the directory of all labs, unless somebody else left something there."""
    try:
        ROOT.rmdir()
    except OSError:
        pass


def load(name):
    """The plan of a lab, or None when it has none."""
    try:
        return json.loads((lab_dir(name) / "state.json").read_text())
    except FileNotFoundError:
        return None


def save(name, plan):
    """Write the plan so that a crash leaves the old or the new one, never a part."""
    write_atomically(lab_dir(name) / "state.json", plan)


def write_atomically(path, value):
    """JSON to path by way of a synced temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with open(fresh, "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


@contextlib.contextmanager
def locked(what):
    """Hold the lock of one lab, or of the machine (what = "machine") for what labs share.

    Order: a lab's lock first, then the machine's. The holder may remove the file; who waited for
    it then holds nothing, and takes the new one. Commands that the holder runs hold it too: when it
    is killed, the next one waits for what it had begun.
    """
    path = lock_path(what)
    while True:
        with open(path, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_at(lock, path):
                continue
            inherited.add(lock.fileno())
            try:
                yield
            finally:
                inherited.discard(lock.fileno())
            return


def is_at(file, path):
    """Is an open file still the one of that name?"""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def lock_path(what):
    """The file of a lock."""
    return LOCKS / f"mortar-lab.{what}"


def load_machine():
    """What labs changed on the machine, as their makers noted it; empty when nothing."""
    try:
        return json.loads(MACHINE.read_text())
    except FileNotFoundError:
        return {}


def save_machine(changes):
    """Remember a change before it is made; an empty one removes the memory."""
    if changes:
        write_atomically(MACHINE, changes)
    else:
        MACHINE.unlink(missing_ok=True)
