# SPDX-License-Identifier: Apache-2.0
"""The Debian guest (docs/guest.md) in a cluster: its image and its first boot."""

import pathlib
import re
import subprocess
import time

from .guest import IN_HOST

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = TREE / "guest/build-debian"
USER_DATA = TREE / "guest/debian-user-data"
IMAGE = "debian"
KEY = "/root/.ssh/id_ed25519"
BOOT_DEADLINE_S = 900  # emulated, on a busy machine
# What the console says in the course of a boot, and what it means to a reader.
MILESTONES = [
    (r"Linux version (\S+)", "GRUB has started Linux {}"),
    (r"Welcome to .*?(Debian.*?)[\x1b!]", "systemd of {} begins"),
    (r"Cloud-init v\. \S+ running 'init-local'", "cloud-init reads its seed"),
    (r"Cloud-init v\. \S+ running 'modules:config'", "cloud-init has made keys and users, and goes on"),
    (r"(\S+) login:", "login prompt of {}"),
    (r"Cloud-init v\. .* finished at .* (Datasource \S+).*?  Up (\S+) seconds",
     "cloud-init is done: {}, {} s by the guest's clock"),
]


def is_built():
    """Is the image in the cache?"""
    return subprocess.run([BUILD, "--is-cached"], check=False).returncode == 0


def build():
    """Build or find the image; its path. Progress goes to stderr."""
    done = subprocess.run([BUILD], check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(done.stdout.strip())


class DebianGuest:
    """A VM of the Debian image. The cluster may not know it yet."""

    def __init__(self, cluster, name="debian", user_data=USER_DATA):
        self.cluster = cluster
        self.name = name
        self.user_data = user_data

    def put_files(self, image, host):
        """Image and user-data into a host, where the agent reads them, and a key to log in with."""
        lab = self.cluster.lab
        lab.exec(host, ["mkdir", "-p", IN_HOST])
        lab.put(host, self.user_data, f"{IN_HOST}/user-data")
        if IMAGE not in self.cluster.names(host, "image"):
            lab.put(host, image, f"{IN_HOST}/debian.qcow2")
        script = f'test -e {KEY} || ssh-keygen -q -t ed25519 -N "" -f {KEY}'
        lab.exec(host, ["sh", "-c", script])

    def create(self, pool="vms", host="host1", *words):
        """Import the image unless it is there, and create the VM; it starts."""
        if IMAGE not in self.cluster.names(host, "image"):
            self.cluster.change(host, "image", "import", f"{IN_HOST}/debian.qcow2", "--name", IMAGE,
                                "--pool", pool)
            self.cluster.lab.exec(host, ["rm", f"{IN_HOST}/debian.qcow2"])
        self.cluster.change(host, "vm", "create", self.name, "--image", IMAGE, "--pool", pool,
                            "--cpus", "2", "--memory", "768M", "--ssh-key", f"{KEY}.pub",
                            "--cloud-init", f"{IN_HOST}/user-data", *words)

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

    def console_log(self):
        """What it said since it started on the host where it is."""
        seen = self.seen()
        script = f"cat /var/log/mortar/console/{self.name}.*-{seen['epoch']}.log"
        return self.cluster.lab.exec(seen["host"], ["sh", "-c", script], check=False).stdout

    def wait_booted(self, tell=lambda words: None, within_s=BOOT_DEADLINE_S):
        """Until cloud-init says on the console that it has finished; its log up to there.

        tell(words) is called once for each thing that happens in between.
        """
        end = time.monotonic() + within_s
        pending = list(MILESTONES)
        while time.monotonic() < end:
            log = self.console_log()
            while pending and (found := re.search(pending[0][0], log)):
                tell(pending.pop(0)[1].format(*found.groups()))
            if not pending:
                return log
            time.sleep(1)
        raise TimeoutError(f"vm '{self.name}' has not booted within {within_s} s; its console ends "
                           f"with\n{self.console_log()[-1500:]}")
