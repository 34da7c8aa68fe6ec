# SPDX-License-Identifier: Apache-2.0
"""The judge of histories, by histories made up: one that is right, and each promise broken once.

The story: epoch 1 on host1 wrote 1 to 40 (30 flushed, 31 and 33 were found by its successor, 32 was not), epoch 2
on host2 went on from 34. Rings are short here; the judge does not care.
"""
import dataclasses
import pathlib
import socket
import sys
import types
import unittest

LAB = pathlib.Path(__file__).resolve().parents[2] / "lab"
sys.path[:0] = [str(LAB), str(LAB / "mortarcluster")]

from history import MOUNT, Beat, History, Slot, Start, View, parse_view  # noqa: E402 (the path must come first)
from keys import KEYS_MAX, KeyGiver, key_of  # noqa: E402
from mortarcluster.recorder import Recorder  # noqa: E402

RING = 256
STARTS = (Start(1, 1, 1, 0), Start(2, 34, 31, 0b101))


def ring(last, **more):
    """Blocks after number `last`: 1 to 33 of epoch 1 without 32, from 34 on of epoch 2."""
    slots = {16 + i: Slot("zero") for i in range(RING)}
    for seq in range(1, last + 1):
        if seq != 32:
            slots[15 + seq] = Slot("whole", 1 if seq < 34 else 2, seq, True, "right")
    slots.update(more.get("changed", {}))
    return slots


def view(at, source, last, changed=None, **more):
    """A look at the ring."""
    return View(at, source, 16, RING, 0, ring(last, changed=changed or {}), STARTS, **more)


def old(seq):
    """A record of the first instance."""
    return Slot("whole", 1, seq, True, "right")


BEATS = ([Beat(i, "host1", 1, 3 * i + 1, 3 * i) for i in range(1, 11)]
         + [Beat(20 + i, "host2", 2, 40 + i, 38 + i) for i in range(10)])
VIEWS = [view(21, "host2", 40), view(28, "host2", 46, counts=True),
         view(28, "host1", 33, counts=False),
         view(40, MOUNT, 47, quiet=1), view(41, MOUNT, 47, quiet=1),
         view(42, "host1", 47, quiet=1, healed=True, digest="a"),
         view(43, "host2", 47, quiet=1, healed=True, digest="a")]


def judged(beats=tuple(BEATS), views=tuple(VIEWS), leave_out=()):
    """{name of a check: its first words}"""
    found = {}
    for violation in History(beats, views).judge(leave_out):
        found.setdefault(violation.check, violation.text)
    return found


def with_view(index, **more):
    """All views, one of them changed: changed={block: Slot} or any field."""
    views = list(VIEWS)
    changed = more.pop("changed", None)
    views[index] = dataclasses.replace(views[index], **more)
    if changed:
        views[index] = dataclasses.replace(views[index], slots={**views[index].slots, **changed})
    return tuple(views)


class Judge(unittest.TestCase):
    def test_a_right_history_is_right(self):
        self.assertEqual(judged(), {})

    def test_c1_a_block_that_goes_back_is_found(self):
        found = judged(views=with_view(1, changed={15 + 36: Slot("whole", 1, 36)}))
        self.assertIn("showed number 36 of epoch 2, then 36 of epoch 1", found["C1"])
        views = with_view(1, changed={15 + 36: Slot("whole", 2, 36 + RING)})
        self.assertIn("showed number 292", judged(views=views + (view(29, "host2", 46),))["C1"])

    def test_c1_a_wrong_tag_or_place_is_found(self):
        self.assertIn("wrong tag", judged(views=with_view(1, changed={20: Slot("whole", 1, 5, True, "wrong")}))["C1"])
        self.assertIn("C1", judged(views=with_view(1, changed={20: Slot("whole", 1, 5, False, "right")})))

    def test_c2_a_flip_between_two_reads_is_found(self):
        found = judged(views=with_view(4, changed={15 + 32: old(32)}))
        self.assertIn("without a write", found["C2"])
        self.assertNotIn("C2", judged(views=with_view(4, changed={15 + 47: Slot("whole", 2, 47)}, quiet=2)))

    def test_c3_a_flushed_number_that_is_gone_is_found(self):
        for slot in (Slot("zero"), Slot("broken")):
            self.assertIn("number 12 was flushed", judged(views=with_view(3, changed={15 + 12: slot}))["C3"])
        self.assertIn("number 47 was flushed", judged(views=(view(40, MOUNT, 46),))["C3"])

    def test_c3_what_a_start_has_seen_must_stay_and_what_it_has_not_need_not(self):
        found = judged(views=with_view(3, changed={15 + 33: Slot("zero")}))
        self.assertIn("number 33 was flushed", found["C3"])
        self.assertNotIn("C3", judged(views=with_view(3, changed={15 + 32: Slot("zero")})))

    def test_c3_an_instance_that_refuses_its_disk_is_found(self):
        found = judged(beats=BEATS[:10] + [Beat(20, "host2", 1, 0, 0)], views=())
        self.assertIn("began on host2 (epoch 1) knows number 0 as flushed, 30 were", found["C3"])
        self.assertEqual(judged(beats=BEATS[:10] + [Beat(20, "host2", 1, 31, 30)], views=()), {}, "a migration")

    def test_c4_a_late_write_that_the_start_had_not_found_is_found(self):
        found = judged(views=with_view(1, changed={15 + 32: old(32)}))
        self.assertIn("had not found it", found["C4"])

    def test_c4_a_late_write_over_a_newer_number_is_found(self):
        found = judged(views=with_view(1, changed={15 + 36: old(36)}))
        self.assertIn("epoch 2 began with number 34", found["C4"])

    def test_c4_an_old_record_that_comes_is_found_even_if_it_was_seen_elsewhere(self):
        views = with_view(0, changed={15 + 33: Slot("zero")})
        self.assertIn("then number 33 of epoch 1 came", judged(views=views)["C4"])

    def test_c4_a_brick_that_is_cut_off_may_hold_anything(self):
        self.assertEqual(judged(views=with_view(2, changed={15 + 32: old(32), 15 + 36: old(36)})), {})

    def test_c5_bricks_that_differ_after_a_heal_are_found(self):
        self.assertIn("in blocks [60]", judged(views=with_view(5, changed={60: Slot("whole", 2, 45)}))["C5"])
        self.assertIn("outside the ring", judged(views=with_view(5, digest="b"))["C5"])

    def test_c6_two_instances_at_once_are_found(self):
        beats = tuple(BEATS) + (Beat(20.5, "host1", 1, 33, 30),)
        self.assertIn("epoch 1 executed for 0.500 s", judged(beats=beats)["C6"])
        self.assertNotIn("C6", judged(beats=beats, leave_out=("C6",)))

    def test_a_tag_made_with_the_key_of_another_epoch_is_found_even_on_a_brick_that_is_cut_off(self):
        forged = Slot("whole", 2, 40, True, "other", 1)
        for index in (1, 2):
            found = judged(views=with_view(index, changed={15 + 40: forged}))
            self.assertEqual(list(found), ["KEY"])
            self.assertIn("number 40 says it is of epoch 2, its tag was made with the key of epoch 1", found["KEY"])

    def test_a_dump_becomes_a_view(self):
        dump = {"epoch": 2, "flushed": 9, "clean": False, "ring_blocks": 256, "ring_start": 16,
                "starts": [[1, 1, 1, "0"], [2, 34, 31, "5"]],
                "slots": [[16, "whole", 1, 1, True, "other", 2], [17, "zero"], [18, "broken"]]}
        seen = parse_view(dump, 3.5, "host1", counts=False)
        self.assertEqual(seen.slots, {16: Slot("whole", 1, 1, True, "other", 2), 17: Slot("zero"), 18: Slot("broken")})
        self.assertEqual((seen.starts, seen.flushed, seen.counts), (STARTS, 9, False))


def question(boot, on_disk):
    """As a guest asks."""
    return b"key? boot=%032x epoch=%d" % (boot, on_disk)


class Keys(unittest.TestCase):
    def test_no_two_starts_get_the_same_number_whatever_their_disk_says(self):
        keys = KeyGiver()
        answers = [keys.answer(question(boot, on_disk)) for boot, on_disk in ((1, 0), (2, 0), (3, 7), (4, 3))]
        self.assertEqual([int(answer.split()[2][len("epoch="):]) for answer in answers], [1, 2, 8, 9])
        self.assertEqual(len({answer.split()[3] for answer in answers}), 4)
        self.assertTrue(answers[0].startswith(b"key boot=%032x epoch=1 " % 1) and answers[0].endswith(b"\n"))

    def test_a_start_that_asks_again_gets_the_same_answer_unless_its_disk_has_the_epoch(self):
        keys = KeyGiver()
        self.assertEqual(keys.answer(question(1, 0)), keys.answer(question(1, 0)))
        self.assertIn(b"epoch=2 ", keys.answer(question(1, 1)))

    def test_an_epoch_that_was_heard_is_not_given_again(self):
        keys = KeyGiver()
        keys.hear(5)
        self.assertIn(b"epoch=6 ", keys.answer(question(1, 4)))

    def test_while_it_is_held_nobody_gets_a_key_and_who_asked_is_known(self):
        keys = KeyGiver()
        keys.hold()
        self.assertIsNone(keys.answer(question(1, 0)))
        self.assertEqual(keys.waiting, {b"%032x" % 1})
        keys.release()
        self.assertIn(b"epoch=1 ", keys.answer(question(1, 0)))

    def test_the_recorder_answers_a_guest_that_asks_and_hears_the_epochs_of_others(self):
        keys = KeyGiver()
        recorder = Recorder(types.SimpleNamespace(hosts=list), "demo", keys=keys)
        ours, guest = socket.socketpair()
        with ours, guest:
            guest.sendall(b"tick 1 mono_ns=2 wall_ns=3 epoch=5 issued=6 acked=6 flushed=4 rtc_ahead_us=0\n"
                          + question(1, 5) + b"\n")
            guest.shutdown(socket.SHUT_WR)
            ours.setblocking(False)
            recorder.socks["host1"] = [ours, b"", False]
            recorder._read_all()
            ours.shutdown(socket.SHUT_WR)
            said = guest.recv(4096)
        self.assertIn(b"epoch=6 ", said)
        self.assertEqual(said, keys.answer(question(1, 5)))
        self.assertEqual([(beat.host, beat.epoch, beat.flushed) for beat in recorder.beats()], [("host1", 5, 4)])

    def test_other_lines_get_no_answer(self):
        for line in (b"tick 1 mono_ns=2", b"key? boot=12 epoch=1", question(1, 2) + b" "):
            self.assertIsNone(KeyGiver().answer(line))

    def test_the_judge_is_told_the_keys_of_all_epochs_or_of_the_newest(self):
        keys = KeyGiver()
        keys.hear(2)
        self.assertEqual(keys.words(), ["--key", f"1:{key_of(1)}", "--key", f"2:{key_of(2)}"])
        keys.hear(1000)
        self.assertEqual(len(keys.words()), 2 * KEYS_MAX)
        self.assertTrue(keys.words()[-1].startswith("1000:"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
