# SPDX-License-Identifier: Apache-2.0
"""The demo guest (docs/guest.md) in a cluster: its files, its words, and the judge of its disk."""

import json
import pathlib
import subprocess

TREE = pathlib.Path(__file__).resolve().parents[2]
FILES = {"vmlinuz": "644", "initrd": "644", "demo.qcow2": "644", "check": "755"}
IN_HOST = "/var/lib/mortar-demo"
IMAGE = "demo"
MEMORY = "96M"
ADDRESS = "10.99.0.2"  # on the cluster's default network


def build():
    """Build or find the guest; the directory of its files."""
    done = subprocess.run([TREE / "guest/build"], check=True, capture_output=True, text=True)
    return pathlib.Path(done.stdout.strip())


class Guest:
    """A VM of the demo guest. The cluster may not know it yet."""

    def __init__(self, cluster, name="demo", writes_per_s=50, emit_ms=5, address=None, options=""):
        """options: further words for the guest's command line (docs/guest.md)."""
        self.cluster = cluster
        self.name = name
        self.cmdline = (f"console=ttyS0 quiet mortar.vm={name} mortar.write={writes_per_s} "
                        f"mortar.emit={emit_ms}" + (f" mortar.ip={address}/24" if address else "")
                        + (f" {options}" if options else ""))

    def put_files(self, directory, host):
        """Copy the guest's files into a host, where the agent reads them."""
        self.cluster.lab.exec(host, ["mkdir", "-p", IN_HOST])
        for file, mode in FILES.items():
            self.cluster.lab.put(host, directory / file, f"{IN_HOST}/{file}", mode)

    def create(self, pool="vms", host="host1", *words):
        """Import the image unless it is there, and create the VM; it starts."""
        if IMAGE not in self.cluster.names(host, "image"):
            self.cluster.change(host, "image", "import", f"{IN_HOST}/demo.qcow2", "--name", IMAGE,
                                "--pool", pool)
        self.cluster.change(
            host, "vm", "create", self.name, "--image", IMAGE, "--pool", pool, "--memory", MEMORY,
            "--kernel", f"{IN_HOST}/vmlinuz", "--initrd", f"{IN_HOST}/initrd",
            "--cmdline", self.cmdline, "--demo-channel", *words)

    def seen(self, host="host1"):
        """`vm show`."""
        return self.cluster.vm(self.name, host)

    def migrate(self, to, host="host1"):
        """Move it; its `last_migration`."""
        self.cluster.change(host, "vm", "migrate", self.name, "--to", to)
        seen = self.seen(host)
        if seen["host"] != to:
            raise AssertionError(f"vm '{self.name}' is on {seen['host']}, not on {to}")
        return seen["last_migration"]

    def judge(self, host, expect_flushed=None):
        """What guest/check says of the disk of the stopped guest, as seen through host's mount."""
        words = ["--vm", self.name]
        if expect_flushed is not None:
            words += ["--expect-flushed", str(expect_flushed)]
        path = self.seen(host)["disks"][0]["path"]
        done = self.cluster.lab.exec(host, [f"{IN_HOST}/check", *words, path], timeout=120,
                                     check=False)
        if done.returncode not in (0, 1):
            raise AssertionError(f"guest/check cannot judge {path}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)
