# SPDX-License-Identifier: Apache-2.0
"""adapters/gluster against three real glusterds: test_gluster.py TOOL (built gluster_tool)."""
import os
import shlex
import signal
import subprocess
import sys
import time
import unittest

import glusterns
from glusterns import wait_for

TOOL = ""
VOLUME = "vms"


class Gluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = glusterns.Cluster(3)
        cls.addClassCleanup(cls.cluster.end)
        cls.h1, cls.h2, cls.h3 = cls.cluster.hosts
        cls.addresses = [h.address for h in cls.cluster.hosts]
        cls.bricks = [f"{a}:/srv/{VOLUME}" for a in cls.addresses]

    def tool(self, *words, host=None, fails=None, most_s=None):
        start = time.monotonic()
        done = (host or self.h1).run(TOOL, *words, check=False)
        took = time.monotonic() - start
        print(f"# {took:.2f} s  {' '.join(words)[:60]}", file=sys.stderr)
        if most_s:
            self.assertLess(took, most_s)
        if fails:
            self.assertEqual((done.returncode, done.stderr.split(":")[0]), (1, fails), done.stderr)
            return done.stderr
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def gluster(self, *words):
        return self.h1.run("gluster", "--mode=script", *words)

    def unit_lines(self, key):
        text = self.tool("unit", VOLUME, *self.addresses)
        return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(key + "=")]

    def mount_as_systemd_would(self):
        for key in ("ExecStartPre", "ExecStart", "ExecStartPost"):
            for line in self.unit_lines(key):
                self.h1.run(*shlex.split(line.lstrip("-")), check=not line.startswith("-"))

    def mount_pid(self):
        return self.h1.pid_of("glusterfs", f"--volfile-id=/{VOLUME}")

    def quorum(self):
        return self.tool("quorum", f"/mnt/{VOLUME}", VOLUME).split()

    # numbered, because each step stands on the one before and bringing up a cluster takes seconds

    def test_1_peers_join_once_and_again(self):
        for address in self.addresses[1:] * 2 + self.addresses[:1]:
            self.tool("probe", address)
        wait_for("all are connected", lambda: self.tool("peers").count(" connected") == 3)
        self.tool("probe", glusterns.BASE + "99", fails="host.unreachable")
        self.tool("detach", glusterns.BASE + "99")

    def test_2_volume_is_created_once_and_again(self):
        self.tool("create", VOLUME, "arbiter", *self.bricks)
        self.tool("create", VOLUME, "arbiter", *self.bricks)
        self.tool("create", VOLUME, "replica3", *self.bricks, fails="object.exists")
        self.tool("create", VOLUME, "arbiter", *reversed(self.bricks), fails="object.exists")
        self.tool("start", "nothing", fails="object.not-found")
        self.assertIn("created", self.tool("observe", VOLUME))
        self.tool("detach", self.addresses[2], fails="object.state")

    def test_3_profile_is_set_kept_and_repaired(self):
        first = self.tool("profile", VOLUME, *self.addresses).split()
        self.assertIn("features.shard", first)
        self.assertEqual(self.tool("profile", VOLUME, *self.addresses), "")
        self.gluster("volume", "set", VOLUME, "cluster.choose-local", "on",
                     "config.global-threading", "on")
        self.assertEqual(self.tool("profile", VOLUME, *self.addresses).split(),
                         ["cluster.choose-local", "config.global-threading"])
        self.assertEqual(self.tool("profile", VOLUME, *self.addresses), "")

    def test_4_volume_starts_and_all_bricks_are_online(self):
        self.tool("start", VOLUME)
        self.tool("start", VOLUME)
        seen = wait_for("bricks", lambda: (lambda t: t if t.count(" online") == 3 else None)(
            self.tool("observe", VOLUME)))
        self.assertIn(f"{self.bricks[2]} online arbiter", seen)
        self.gluster("volume", "heal", VOLUME, "granular-entry-heal", "disable")
        self.assertEqual(self.tool("profile", VOLUME, *self.addresses).split(),
                         ["cluster.granular-entry-heal"])

    def test_5_mount_unit_mounts_and_mounts_again_after_kill(self):
        self.tool("quorum", f"/mnt/{VOLUME}", VOLUME, fails="object.not-found")
        self.mount_as_systemd_would()
        wait_for("all bricks", lambda: self.quorum() == ["met", "3", "7"])
        self.h1.run("sh", "-c", f"echo kept > /mnt/{VOLUME}/file")
        os.kill(self.mount_pid(), signal.SIGKILL)
        wait_for("dead mount", lambda: self.quorum() == ["lost", "0", "0"])
        self.mount_as_systemd_would()
        self.assertEqual(self.h1.run("cat", f"/mnt/{VOLUME}/file").stdout, "kept\n")
        with open(f"/proc/{self.h1.pid}/mounts") as f:
            self.assertEqual(f.read().count(f"/mnt/{VOLUME} "), 1)

    def test_6_quorum_and_pending_heals_follow_the_bricks(self):
        brick = f"/srv/{VOLUME}"
        wait_for("clean", lambda: self.tool("heal", brick) == "0 0 0\n")
        os.kill(self.h3.pid_of("glusterfsd"), signal.SIGKILL)
        wait_for("two bricks", lambda: self.quorum() == ["met", "3", "3"])
        self.h1.run("sh", "-c", f"echo changed > /mnt/{VOLUME}/file; sync")
        wait_for("a file to heal", lambda: self.tool("heal", brick).split()[0] != "0")
        wait_for("one offline", lambda: f"{self.bricks[2]} offline" in self.tool("observe", VOLUME))
        os.kill(self.h2.pid_of("glusterfsd"), signal.SIGKILL)
        wait_for("no quorum", lambda: self.quorum() == ["lost", "3", "1"])
        wait_for("nor attributes", lambda: self.quorum() == ["lost", "0", "0"])
        self.tool("revive", VOLUME)
        wait_for("quorum", lambda: self.quorum() == ["met", "3", "7"])
        wait_for("healed by itself", lambda: self.tool("heal", brick) == "0 0 0\n", 120)

    def test_7_hung_mount_costs_the_deadline_and_no_more(self):
        pid = self.mount_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            self.tool("quorum", f"/mnt/{VOLUME}", VOLUME, fails="call.timeout", most_s=20)  # it hangs until SIGCONT
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.quorum()[0], "met")

    def test_7a_hung_brick_costs_the_deadline_and_no_more(self):
        pid = self.h2.pid_of("glusterfsd")
        took = []
        while len(took) < 5 and (not took or took[-1] >= 8):  # a machine may stand still for so long
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(1.2)  # until the root's attributes are too old to be believed
                start = time.monotonic()
                self.h1.run(TOOL, "quorum", f"/mnt/{VOLUME}", VOLUME, check=False)
                took.append(time.monotonic() - start)
            finally:
                os.kill(pid, signal.SIGCONT)
        self.assertLess(took[-1], 8, took)  # less than network.ping-timeout
        wait_for("quorum", lambda: self.quorum() == ["met", "3", "7"])

    def test_8_hung_peer_does_not_hide_the_local_state(self):
        pid = self.h3.pid_of("glusterd")
        os.kill(pid, signal.SIGSTOP)
        try:
            state = self.tool("state", most_s=20)  # glusterd would wait two minutes for it
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertIn(f"{self.bricks[0]} online", state)
        self.assertIn(f"{self.bricks[1]} unknown", state)
        os.kill(self.h1.pid_of("glusterd"), signal.SIGKILL)
        wait_for("its end", lambda: not self.h1.pids("glusterd"))
        self.assertIn("does not run", self.tool("state", fails="gluster.failed"))
        self.h1.start_glusterd()
        wait_for("glusterd", self.h1.glusterd_ready)
        for host in self.cluster.hosts:
            wait_for("peers again", lambda: self.tool("peers", host=host).count(" connected") == 3)

    def test_8a_two_hosts_changing_at_once_both_succeed(self):
        self.gluster("volume", "set", VOLUME, "cluster.heal-timeout", "99",
                     "cluster.choose-local", "on")
        calls = [subprocess.Popen(h.enter(TOOL, "profile", VOLUME, *self.addresses),
                                  stdout=subprocess.DEVNULL) for h in (self.h1, self.h2)]
        self.assertEqual([c.wait(180) for c in calls], [0, 0])

    def test_9_volume_goes_once_and_again(self):
        self.h1.run(*shlex.split(self.unit_lines("ExecStopPost")[0].lstrip("-")))
        self.tool("delete", VOLUME, fails="object.state")
        self.tool("stop", VOLUME)
        self.tool("stop", VOLUME)
        self.tool("delete", VOLUME)
        self.tool("delete", VOLUME)
        self.tool("create", VOLUME, "arbiter", *self.bricks)  # over what the old one left
        self.tool("delete", VOLUME)


if __name__ == "__main__":
    reason = glusterns.missing_reason()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2, failfast=True)
