# SPDX-License-Identifier: Apache-2.0
"""The Debian guest (docs/guest.md): its image, and what cloud-init, SSH and a move make of it."""

import os
import pathlib
import signal
import subprocess
import time

from mortarcluster import debian

TREE = pathlib.Path(__file__).resolve().parents[2]


def wait_until(what, condition, within_s):
    """Poll condition() until it gives something true."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.1)


def traces(directory):
    """Mounts, loop devices and processes of the machine that have to do with a directory."""
    found = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
             if str(directory) in line]
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    found += [line for line in loops.splitlines() if str(directory) in line]
    for path in pathlib.Path("/proc").glob("[0-9]*/root"):
        try:
            found += [str(path)] if os.readlink(path).startswith(str(directory)) else []
        except OSError:
            continue  # it has ended
    return found


class TestImage:
    """What guest/build-debian leaves behind."""

    def test_a_killed_build_leaves_no_mount_and_no_image(self, tmp_path):
        env = {**os.environ, "MORTAR_GUEST_CACHE": str(tmp_path)}
        child = subprocess.Popen([debian.BUILD], env=env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:  # until Debian's programs run in the tree, which is when it has its mounts
            wait_until("packages are installed", lambda: any("/root" in t for t in traces(tmp_path)),
                       300)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        wait_until("all of it is gone", lambda: not traces(tmp_path), 10)
        assert not list(tmp_path.glob("debian-*"))
        assert subprocess.run([debian.BUILD, "--is-cached"], env=env, check=False).returncode == 1

    def test_the_second_build_finds_the_first(self):
        image = debian.build()
        assert debian.is_built()
        before = image.stat().st_mtime_ns
        assert debian.build() == image and image.stat().st_mtime_ns == before
        subprocess.run(["qemu-img", "check", "-q", image], check=True)
