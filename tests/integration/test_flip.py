# SPDX-License-Identifier: Apache-2.0
"""What becomes of a write that nobody acknowledged: test_flip.py TOOL (built gluster_tool).

Each test is a promise of docs/evidence/flip.md. Shards are 4 MiB instead of the product's 64 MiB;
all other options are the product's, but server quorum is off. `test_flip.py TOOL measure` prints
the figures of that document instead, with 64 MiB shards.
"""
import os
import signal
import sys
import time
import unittest

import fliplab
import glusterns
from fliplab import BLOCK, DATA
from glusterns import wait_for

TOOL = ""
N = 1  # the shard that everything happens to
OLD, NEW = "o", "n"
SPARES = 8  # images for what a machine that stands still for a second spoils
TRIES = 15  # the same, where it can be done again with one image


class Flip(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = fliplab.Lab(TOOL, 4 << 20)
        cls.addClassCleanup(cls.lab.end)
        cls.g1, cls.g2, cls.g3 = cls.lab.hosts
        cls.at = N * cls.lab.shard
        cls.spare = [f"spare-{i}" for i in range(SPARES)]
        tests = [n for n in dir(cls) if n.startswith("test_")]
        cls.lab.images(tests + ["again"] + cls.spare, 2)

    def setUp(self):
        self.image = self.id().rsplit(".", 1)[1]
        self.started = time.monotonic()

    def tearDown(self):
        print(f"# {time.monotonic() - self.started:.1f} s", file=sys.stderr)

    # -- steps

    def say(self, what):
        rows = []
        for h in self.lab.hosts:
            held = (self.lab.on_disk(h, self.image, N) or "-").replace("\0", "-")
            rows.append(f"{h.name} {held} {self.lab.marks(h, self.image, N)}")
        print(f"# {what}: {'; '.join(rows)}", file=sys.stderr)

    def read(self, guest, offset=None):
        return guest.call("read", self.at if offset is None else offset, BLOCK)

    def everybody_back(self):
        for h in self.lab.hosts:
            if not self.lab.up(h):
                self.lab.mount(h)
        wait_for("all bricks everywhere", lambda: all(self.lab.up(h) == 7 for h in self.lab.hosts))

    def heal(self):
        self.lab.heal()
        wait_for("healed", self.lab.clean, 120)
        self.assertTrue(self.lab.same(self.image, N))

    def sees_without(self, host, dead):
        mask = 7 & ~(1 << self.lab.hosts.index(dead))
        wait_for("two bricks", lambda: self.lab.up(host) == mask)

    def unacknowledged(self, dead, offset=None, later=True):
        """OLD is acknowledged; then NEW reaches only @dead's brick, and nobody hears of it.

        The cable goes while the eager lock of the first write is held, else the second would
        wait for its lock. @later: in the next second of the clock.
        """
        offset = self.at if offset is None else offset
        for _ in range(TRIES):
            writer = self.lab.guest(dead, self.image)
            fliplab.until_fraction(0.75 if later else 0.0)
            self.assertEqual(writer.call("write", offset, BLOCK, OLD), "done")
            self.lab.cut(dead)
            if later:
                fliplab.until_fraction(0.0)
            writer.ask("write", offset, BLOCK, NEW)
            try:
                wait_for("landed", lambda: self.lab.on_disk(
                    dead, self.image, N, offset - self.at) == NEW, 2)
                return writer
            except AssertionError:  # too slow: the lock was given back before the cable went
                self.lab.cluster.cut(dead, down=False)
                writer.answer()
        self.fail("no write reached one brick alone")

    def dead_owner(self, dead, **kw):
        """unacknowledged(), then @dead loses power and the others have cut it off."""
        self.unacknowledged(dead, **kw)
        self.lab.power_off(dead)
        self.lab.noticed(dead)
        owner = self.g2 if dead is self.g1 else self.g1
        self.sees_without(owner, dead)
        self.say("owner dead")
        return owner

    def read_brick(self):
        """Which data brick is read: the hash of the shard's gfid decides. Changes one and looks."""
        path = self.lab.shard_path(self.g1, self.image, N)
        with open(path, "r+b") as f:
            before = f.read(BLOCK)
            f.seek(0)
            f.write(b"?" * BLOCK)
        guest = self.lab.guest(self.g3, self.image)
        found = 0 if self.read(guest) == "?" else 1
        guest.end()
        with open(path, "r+b") as f:
            f.write(before)
        return found

    def dead_mount(self, only, offset=None):
        """All hosts live, but the mount on g3 dies; its last write is on data brick @only alone.

        The heal daemons are stopped meanwhile, else they look within a minute, or at once. With
        nothing to heal, because one that stops within a heal keeps the lock and nobody can write.
        """
        wait_for("nothing to heal", self.lab.clean)
        self.lab.signal_heal(signal.SIGSTOP)
        other = self.lab.hosts[1 - only]
        offset = self.at if offset is None else offset
        writer = self.lab.guest(self.g3, self.image)
        for _ in range(TRIES):
            fliplab.until_fraction(0.75)
            self.assertEqual(writer.call("write", self.at, BLOCK, OLD), "done")
            self.lab.filter(self.g3, other)
            fliplab.until_fraction(0.0)
            writer.ask("write", offset, BLOCK, NEW)
            try:
                wait_for("landed", lambda: self.lab.on_disk(
                    self.lab.hosts[only], self.image, N, offset - self.at) == NEW, 2)
                break
            except AssertionError:
                self.lab.unfilter(self.g3)
                writer.answer()
        else:
            self.fail("no write reached one brick alone")
        self.lab.kill_mount(self.g3)
        self.lab.destroy_sockets(self.g3, other)  # else the kernel would still deliver the write
        self.lab.destroy_sockets(other, self.g3)
        self.lab.unfilter(self.g3)
        self.lab.mount(self.g3)
        self.everybody_back()
        self.say("mount dead")

    def launder(self, guest, reachable, absent=None, length=None):
        done = self.lab.launder(guest, self.image, reachable, length)
        self.assertIn(N, done)
        if absent:
            brick = self.lab.hosts.index(absent)
            wait_for("blame of the absent brick", lambda: all(
                self.lab.marks(h, self.image, N).get(brick) for h in reachable))
        self.say("laundered")

    # -- promises

    def test_1_flips_old_to_new_when_the_dead_owners_brick_returns(self):
        owner = self.dead_owner(self.g1)
        for h in self.lab.hosts:
            self.assertEqual(self.lab.marks(h, self.image, N), {"dirty": (1, 0, 0)})
        self.assertEqual(self.lab.listed(self.image, [self.g2, self.g3]), {N})
        guest = self.lab.guest(owner, self.image)
        self.assertEqual(self.read(guest), OLD)
        self.lab.power_on(self.g1)
        self.everybody_back()
        self.heal()
        self.assertEqual(self.read(guest), NEW)

    def test_1a_heal_takes_the_newest_whole_second_and_at_a_tie_the_second_brick(self):
        owner = self.dead_owner(self.g1, later=False)
        guest = self.lab.guest(owner, self.image)
        self.assertEqual(self.read(guest), OLD)
        stale, good = (self.lab.ctime(h, self.image, N)[0] for h in (self.g1, self.g2))
        print(f"# second {stale} against {good}", file=sys.stderr)
        self.lab.power_on(self.g1)
        self.everybody_back()
        self.heal()
        self.assertEqual(self.read(guest), NEW if stale > good else OLD)

    def test_1b_flips_with_all_bricks_up_unless_the_brick_that_is_read_has_it(self):
        self.dead_mount(only=1 - self.read_brick())
        guest = self.lab.guest(self.g1, self.image)
        self.assertEqual(self.read(guest), OLD)
        self.lab.signal_heal(signal.SIGCONT)
        self.heal()
        self.assertEqual(self.read(guest), NEW)

    def test_2_laundered_shard_stays_old_and_heals_from_the_survivor(self):
        for dead in (self.g1, self.g2):
            owner = self.dead_owner(dead)
            guest = self.lab.guest(owner, self.image)
            self.launder(guest, [owner, self.g3], dead)
            self.assertEqual(self.read(guest), OLD)
            # the dead owner's count stays: "nothing listed" never comes while a brick is away; the size in the first piece is
            # marked, too, until AFR takes that mark back (post-op-delay-secs)
            wait_for("only that piece is dirty", lambda: self.lab.listed(self.image, [owner, self.g3], "dirty") == {N})
            self.lab.power_on(dead)
            self.everybody_back()
            self.heal()
            self.assertEqual(self.read(guest), OLD)
            self.assertEqual(self.lab.on_disk(dead, self.image, N), OLD)
            self.image = "again"

    def test_2a_one_block_launders_a_shard_when_one_data_brick_is_reachable(self):
        last = self.at + self.lab.shard - BLOCK
        owner = self.dead_owner(self.g1, offset=last)
        guest = self.lab.guest(owner, self.image)
        self.launder(guest, [owner, self.g3], self.g1, length=BLOCK)
        self.assertEqual(self.read(guest, last), OLD)
        self.lab.power_on(self.g1)
        self.everybody_back()
        self.heal()
        self.assertEqual(self.read(guest, last), OLD)

    def test_2b_whole_shard_launders_when_both_data_bricks_are_reachable(self):
        self.dead_mount(only=1 - self.read_brick())
        guest = self.lab.guest(self.g1, self.image)
        self.launder(guest, self.lab.hosts)
        self.assertTrue(self.lab.same(self.image, N))
        self.assertEqual(self.read(guest), OLD)
        self.lab.signal_heal(signal.SIGCONT)
        self.heal()
        self.assertEqual(self.read(guest), OLD)

    def refuse(self, host):
        """The product's cut of g1 on @host; g1 is told at once instead of after 10 s."""
        self.lab.filter(host, self.g1)
        self.lab.destroy_sockets(host, self.g1)
        self.lab.destroy_sockets(self.g1, host)

    def cut_in_order(self, first, second, between=None):
        """g1 writes "p" between the cuts, flushed and acknowledged; then it dies.

        Without heal daemons: g3's still reaches all bricks and interferes between the cuts; once
        it was seen to overwrite "p" on g1 (flip.md).
        """
        wait_for("nothing to heal", self.lab.clean)
        self.lab.signal_heal(signal.SIGSTOP)
        old_owner = self.lab.guest(self.g1, self.image)
        self.assertEqual(old_owner.call("write", self.at, BLOCK, OLD), "done")
        self.refuse(first)
        self.assertEqual(old_owner.call("write", self.at, BLOCK, "p"), "done")
        self.assertEqual(old_owner.call("sync"), "done")
        if between:
            between()
        self.refuse(second)
        self.lab.power_off(self.g1)
        for h in (first, second):
            self.lab.unfilter(h)
        self.sees_without(self.g2, self.g1)
        self.say("cut")
        return self.lab.guest(self.g2, self.image)

    def g1_returns(self):
        self.lab.signal_heal(signal.SIGCONT)
        self.lab.power_on(self.g1)
        self.everybody_back()
        self.heal()

    def test_3_data_brick_cut_before_the_arbiter_leaves_no_good_copy(self):
        def blamed():
            try:
                wait_for("blame of g2", lambda: self.lab.marks(self.g3, self.image, N).get(1))
            finally:
                self.say("between")
        guest = self.cut_in_order(self.g2, self.g3, blamed)
        self.assertIn("error", self.read(guest))
        self.assertIn("error", guest.call("launder", self.at, BLOCK))
        self.g1_returns()
        self.assertEqual(self.read(guest), "p")  # acknowledged: nothing is lost but time

    def test_3a_arbiter_cut_first_leaves_the_good_copy_unblamed(self):
        guest = self.cut_in_order(self.g3, self.g2)
        self.assertNotIn(1, self.lab.marks(self.g3, self.image, N))
        self.assertEqual(self.read(guest), "p")
        self.launder(guest, [self.g2, self.g3], self.g1)
        self.assertEqual(guest.call("write", self.at, BLOCK, "r"), "done")
        self.g1_returns()
        self.assertEqual(self.read(guest), "r")

    def test_3c_wrong_order_within_a_second_hides_an_acknowledged_write(self):
        for self.image in self.spare:
            guest = self.cut_in_order(self.g2, self.g3)
            late = 1 in self.lab.marks(self.g3, self.image, N)
            seen = self.read(guest)
            self.g1_returns()
            if not late:  # a slow machine took more than a second between write and cut
                self.assertEqual(seen, OLD)  # and no mark said that it is not good
                return
        self.fail("the arbiter was never cut within a second")

    def test_6_returned_brick_that_missed_acknowledged_writes_shows_less_dirty(self):
        old_owner = self.lab.guest(self.g1, self.image)
        self.assertEqual(old_owner.call("write", self.at, BLOCK, OLD), "done")
        wait_for("post-op", lambda: not self.lab.listed(self.image, self.lab.hosts))
        self.lab.power_off(self.g2)
        self.lab.noticed(self.g2)
        wait_for("two bricks", lambda: self.lab.up(self.g1) == 5)
        self.assertEqual(old_owner.call("write", self.at, BLOCK, "p"), "done")
        self.assertEqual(old_owner.call("sync"), "done")
        self.lab.power_off(self.g1)
        self.lab.noticed(self.g1)
        self.lab.power_on(self.g2)
        self.lab.mount(self.g2)
        self.sees_without(self.g2, self.g1)
        guest = self.lab.guest(self.g2, self.image)
        self.say("returned alone")
        self.assertEqual(self.read(guest), OLD)  # a flushed write is missing, nobody is blamed
        self.assertEqual(self.lab.marks(self.g2, self.image, N), {})
        self.assertEqual(self.lab.marks(self.g3, self.image, N), {"dirty": (1, 0, 0)})
        self.g1_returns()
        self.assertEqual(self.read(guest), "p")

    def test_3b_blame_of_a_survivor_on_the_returned_brick_stops_the_image_until_removed(self):
        owner = self.dead_owner(self.g1)
        guest = self.lab.guest(owner, self.image)
        self.launder(guest, [owner, self.g3], self.g1)
        # forged: a mark that the cut kept from the arbiter; see flip.md for when that can happen
        path = self.lab.shard_path(self.g1, self.image, N)
        os.setxattr(path, "trusted.afr.vms-client-1", b"\0\0\0\1" + bytes(8))
        self.lab.power_on(self.g1)
        self.everybody_back()
        self.lab.heal()
        wait_for("guest gets errors", lambda: "error" in self.read(guest))
        self.assertFalse(self.lab.clean())
        self.say("rejoined")
        self.lab.power_off(self.g1)
        os.removexattr(path, "trusted.afr.vms-client-1")
        self.g1_returns()
        self.assertEqual(self.read(guest), OLD)

    def whole_site_off(self):
        self.unacknowledged(self.g1)
        for h in self.lab.hosts:
            self.lab.power_off(h)
        self.say("site off")

    def two_return(self):
        self.lab.power_on(self.g2)
        self.lab.power_on(self.g3)
        wait_for("bricks", lambda: self.g2.pids("glusterfsd") and self.g3.pids("glusterfsd"))
        self.lab.mount(self.g2)
        self.sees_without(self.g2, self.g1)
        return self.lab.guest(self.g2, self.image)

    def test_4_site_power_loss_flips_for_a_guest_started_before_the_rule(self):
        self.whole_site_off()
        guest = self.two_return()
        self.assertEqual(self.read(guest), OLD)
        self.g1_returns()
        self.assertEqual(self.read(guest), NEW)

    def test_4a_site_power_loss_laundered_before_the_start_stays(self):
        self.whole_site_off()
        guest = self.two_return()
        self.launder(guest, [self.g2, self.g3], self.g1)
        self.assertEqual(self.read(guest), OLD)
        self.g1_returns()
        self.assertEqual(self.read(guest), OLD)

    def test_4b_site_power_loss_healed_before_the_start_stays(self):
        self.whole_site_off()
        for h in self.lab.hosts:
            self.lab.power_on(h)
        wait_for("bricks", lambda: all(h.pids("glusterfsd") for h in self.lab.hosts))
        self.everybody_back()
        self.lab.heal()
        wait_for("indices empty", self.lab.clean, 120)
        guest = self.lab.guest(self.g2, self.image)
        first = self.read(guest)
        self.assertIn(first, (OLD, NEW))
        self.heal()
        self.assertEqual(self.read(guest), first)
        self.assertTrue(self.lab.same(self.image, N))

    def test_5_hole_must_be_rewritten_too_when_both_data_bricks_are_reachable(self):
        hole = self.at + (1 << 20)
        mount = self.lab.guest(self.g3, self.image)
        self.assertIn("not supported", mount.call("data", 0))  # and a mount cannot tell holes
        seen = {}
        for whole in (False, True):
            # read from brick 0, stale on brick 1: at equal ctimes the heal takes brick 1
            for number in range(40):  # half of all images are read from it
                self.image = f"hole-{whole}-{number}"
                self.lab.images([self.image], 2)
                if self.read_brick() == 0:
                    break
                self.g3.run("rm", f"{fliplab.MOUNT}/{self.image}")
            self.dead_mount(only=1, offset=hole)
            guest = self.lab.guest(self.g1, self.image)
            self.launder(guest, self.lab.hosts, length=None if whole else BLOCK)
            before = self.read(guest, hole)
            self.assertEqual(self.lab.same(self.image, N), whole)
            self.lab.signal_heal(signal.SIGCONT)
            self.heal()
            seen[whole] = (before, self.read(guest, hole))
        self.assertEqual(seen, {False: ("\\x00", NEW), True: ("\\x00", "\\x00")})


def timed(what, call):
    start = time.monotonic()
    answer = call()
    print(f"{what}: {(time.monotonic() - start) * 1000:.0f} ms ({answer})")
    return answer


def measure():
    lab = fliplab.Lab(TOOL, 64 << 20)
    try:
        g1, g2, g3 = lab.hosts
        image, size = "disk", lab.shard
        print(f"load {os.getloadavg()}")
        lab.images([image], 4)
        guest = lab.guest(g2, image)
        timed("first fill of 256 MiB", lambda: guest.call("write", 0, 4 * size, "a"))
        for n in range(1, 4):
            timed("launder 64 MiB, all bricks", lambda: guest.call("launder", n * size, size))
        for n in range(1, 4):
            timed("launder 4 KiB, all bricks", lambda: guest.call("launder", n * size, BLOCK))
        for round_ in range(6):
            wait_for("all", lambda: all(lab.up(h) == 7 for h in lab.hosts))
            wait_for("clean", lab.clean, 30)
            writers = [lab.guest(g1, image) for _ in range(8)]
            for i, w in enumerate(writers):
                w.ask("spin", i * size // 2, size // 2)
            wait_for("writing", lambda: len(lab.listed(image, [g2], "dirty")) == 4)
            time.sleep(0.5 + round_ / 10)  # not to wait for something: to cut at another moment
            lab.power_off(g1)
            lab.noticed(g1)
            wait_for("two", lambda: lab.up(g2) == 6)
            listed = lab.listed(image, [g2, g3], "dirty")
            differ = sum(differing(lab, image, n) for n in range(4))
            print(f"power loss {round_}: dirty {sorted(listed)}, blocks that differ {differ}")
            for n in sorted(listed):
                timed(f"launder shard {n}, one data brick away",
                      lambda: guest.call("launder", n * size, BLOCK if round_ % 2 else size))
            timed("until blame is on both", lambda: wait_for("blame", lambda: all(
                lab.marks(h, image, n).get(0) for n in listed for h in (g2, g3))))
            lab.power_on(g1)
            lab.mount(g1)
            for w in writers:
                w.end()
            timed("return and heal", lambda: wait_for("clean", lab.clean, 60))
            assert not sum(differing(lab, image, n) for n in range(4))
    finally:
        lab.end()


def differing(lab, image, n):
    pair = [open(lab.shard_path(lab.hosts[i], image, n), "rb") for i in DATA]
    with pair[0] as a, pair[1] as b:
        return sum(x != y for x, y in zip(iter(lambda: a.read(BLOCK), b""),
                                          iter(lambda: b.read(BLOCK), b"")))


if __name__ == "__main__":
    reason = fliplab.missing_reason()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    TOOL = os.path.abspath(sys.argv.pop(1))
    if sys.argv[1:] == ["measure"]:
        measure()
    else:
        unittest.main(verbosity=2, failfast=True)
