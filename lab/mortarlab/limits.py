# SPDX-License-Identifier: Apache-2.0
"""Limits of the kernel that all hosts of all labs share."""

import pathlib

from . import state

INOTIFY = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
# A booted host takes about 15 (systemd, udevd, dbus, libvirtd …) and the kernel's default is 128 for
# all of root's: the ninth host hung half-booted. Enough for some 60 hosts.
INOTIFY_WANTED = 1024


def prepare_machine():
    """Raise what many hosts would run into; remembered, so that the last `down` takes it back."""
    present = int(INOTIFY.read_text())
    if present < INOTIFY_WANTED:
        changes = state.load_machine()
        changes.setdefault("inotify_instances", present)
        state.save_machine(changes)
        INOTIFY.write_text(str(INOTIFY_WANTED))


def restore_machine():
    """Take back what prepare_machine set; called when no lab is left."""
    changes = state.load_machine()
    if "inotify_instances" in changes:
        INOTIFY.write_text(str(changes.pop("inotify_instances")))
        state.save_machine(changes)
