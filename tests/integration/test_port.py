# SPDX-License-Identifier: Apache-2.0
"""docs/bugs.md B6 against one real glusterd with three bricks: test_port.py TOOL (built gluster_tool)."""
import os
import signal
import sys
import unittest

import glusterns
from glusterns import wait_for

TOOL = ""
VOLUME = "vms"


class Port(unittest.TestCase):
    def setUp(self):
        cluster = glusterns.Cluster(1)
        self.addCleanup(cluster.end)
        self.host = cluster.hosts[0]
        self.bricks = [f"{self.host.address}:/srv/b{i}" for i in (1, 2, 3)]
        self.tool("create", VOLUME, "replica3", *self.bricks)
        self.tool("start", VOLUME)

    def tool(self, *words):
        return self.host.run(TOOL, *words).stdout

    def state(self):
        return dict(line.split(" ", 1) for line in self.tool("state").splitlines() if line.startswith(glusterns.BASE))

    def start_glusterd_without(self, brick):
        """As it is when glusterd ended between its import of a volume and the next change: no port is stored."""
        os.kill(self.host.pid_of("glusterd"), signal.SIGKILL)
        wait_for("its end", lambda: not self.host.pids("glusterd"))
        stored = os.path.join(self.host.dir, "glusterd/vols", VOLUME, "bricks", brick.replace("/", "-"))
        with open(stored) as f:
            lines = f.read().splitlines()
        with open(stored, "w") as f:
            f.writelines(("listen-port=0" if line.startswith("listen-port=") else line) + "\n" for line in lines)
        self.host.start_glusterd()
        wait_for("glusterd", self.host.glusterd_ready)

    def test_a_brick_whose_port_is_lost_gets_one_when_it_is_ended_and_started_and_not_else(self):
        wait_for("all bricks", lambda: set(self.state().values()) == {"online"})
        self.start_glusterd_without(self.bricks[1])
        lost = {self.bricks[0]: "online", self.bricks[1]: "online without port", self.bricks[2]: "online"}
        wait_for("the loss", lambda: self.state() == lost)
        self.tool("revive", VOLUME)
        self.assertEqual(self.state(), lost)
        pid = next(p for p in self.host.pids("glusterfsd") if "/srv/b2" in glusterns.command_line(p))
        os.kill(pid, signal.SIGKILL)
        wait_for("its end", lambda: not os.path.exists(f"/proc/{pid}"))
        self.tool("revive", VOLUME)
        wait_for("its port", lambda: set(self.state().values()) == {"online"})
        os.kill(self.host.pid_of("glusterd"), signal.SIGKILL)  # and it is kept
        wait_for("its end", lambda: not self.host.pids("glusterd"))
        self.host.start_glusterd()
        wait_for("glusterd", self.host.glusterd_ready)
        wait_for("all bricks", lambda: set(self.state().values()) == {"online"})


if __name__ == "__main__":
    reason = glusterns.missing_reason()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2, failfast=True)
