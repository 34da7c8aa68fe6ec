# SPDX-License-Identifier: Apache-2.0
"""A host's data disk, and that of a small root: a sparse file on the machine and one loop device each.

Loop devices are one pool for the whole machine. They are attached here, outside the hosts, and a
host gets its own node only. A device is ours when its backing file lies in the lab's directory;
nothing else is ever detached.
"""

import fcntl
import os
import pathlib
import re
import stat
import time

from .command import LabError, run

LOOP_CTL_GET_FREE = 0x4C82  # linux/loop.h
LOOP_MAJOR = 7
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MIN_BYTES = 512 << 20
MAX_BYTES = 64 << 40
ROOT_BYTES = 1 << 30


def parse_size(text):
    """Bytes of "20G"; powers of 1024."""
    match = re.fullmatch(r"(\d{1,12})([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    size = int(match[1]) * UNITS[match[2].upper()] if match else 0
    if not MIN_BYTES <= size <= MAX_BYTES:
        raise LabError(f"bad disk size {text!r}", "from 512M to 64T, for example 20G")
    return size


def create(path, size_bytes):
    """The sparse file; one that exists is kept with what is on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with open(path, "wb") as file:
            file.truncate(size_bytes)


def create_root(path):
    """The sparse file of a small root, with an empty ext4: whole, or not there."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        create(part, ROOT_BYTES)
        run(["mkfs.ext4", "-q", "-F", part])
        part.rename(path)


def backing_file(device):
    """The file behind /dev/loopN, or None when it is not attached."""
    try:
        return pathlib.Path(f"/sys/block/{device.name}/loop/backing_file").read_text().rstrip("\n")
    except OSError:
        return None


def attached_below(directory):
    """{file: device} of all loop devices whose file lies below directory."""
    found = {}
    for block in pathlib.Path("/sys/block").glob("loop*"):
        device = pathlib.Path("/dev", block.name)
        file = backing_file(device)
        if file and file.removesuffix(" (deleted)").startswith(f"{directory}/"):
            found[file.removesuffix(" (deleted)")] = device
    return found


def ensure_free_node():
    """Have the kernel offer a free loop device, and a node for it where /dev is not devtmpfs."""
    with open("/dev/loop-control") as control:
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    node = pathlib.Path(f"/dev/loop{number}")
    if not node.exists():
        os.mknod(node, stat.S_IFBLK | 0o660, os.makedev(LOOP_MAJOR, number))


def attach(path, sector_bytes=512):
    """Attach path unless it is; return its device. Another process may take the free one first.

    sector_bytes: logical; 4096 makes what is sold as "4Kn".
    """
    for _attempt in range(10):
        device = attached_below(path.parent).get(str(path))
        if device:
            return device
        ensure_free_node()
        run(["losetup", "--sector-size", str(sector_bytes), "--find", path], check=False)
    raise LabError(f"no loop device for {path}", "losetup --list shows who has them")


def detach_below(directory, deadline_s=20):
    """Detach all devices of a lab and wait until they are free.

    A device that a dying host still has mounted goes when the last mount does.
    """
    for device in attached_below(directory).values():
        run(["losetup", "--detach", device], check=False)
    end = time.monotonic() + deadline_s
    while left := attached_below(directory):
        if time.monotonic() > end:
            raise LabError(f"still in use: {', '.join(str(d) for d in left.values())}")
        time.sleep(0.02)
