# SPDX-License-Identifier: Apache-2.0
"""What random schedules for the lab may and may not hold; drawn only, none is played."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lab"))

from mortarcluster.faults import FAULTS, HOSTS, NETWORKS  # noqa: E402 (the path must come first)
from mortarcluster.schedule import DAEMONS, HEAVY, LIGHT, Schedule  # noqa: E402

T_DET_S = 3  # standard profile
MANY = [Schedule(seed) for seed in range(2000)]
STEPS = [step for schedule in MANY for step in schedule.steps]
LOSSES = [schedule.loss for schedule in MANY if schedule.loss]


class Schedules(unittest.TestCase):
    def test_a_seed_draws_the_same_schedule_again(self):
        self.assertEqual([Schedule(s.seed).words() for s in MANY], [s.words() for s in MANY])

    def test_of_ten_seeds_in_a_row_three_lose_a_host(self):
        heavy = [schedule.loss is not None for schedule in MANY]
        self.assertEqual({sum(heavy[n:n + 10]) for n in range(len(heavy) - 9)}, {3})

    def test_two_of_the_three_lose_the_host_of_the_guest(self):
        moves = [bool(schedule.loss) and schedule.loss.victim == "guest" for schedule in MANY]
        self.assertEqual({sum(moves[n:n + 10]) for n in range(len(moves) - 9)}, {2})

    def test_a_schedule_is_a_loss_or_steps_never_both(self):
        self.assertTrue(all(bool(s.loss) != bool(s.steps) for s in MANY))

    def test_every_kind_of_fault_is_drawn(self):
        self.assertEqual({step.what for step in STEPS}, set(LIGHT))
        self.assertEqual({loss.what for loss in LOSSES}, set(HEAVY))
        self.assertEqual({loss.victim for loss in LOSSES}, {"guest", "other", "witness"})
        self.assertEqual({loss.beside for loss in LOSSES}, {"", *DAEMONS})
        self.assertEqual({loss.leads for loss in LOSSES}, {True, False})
        self.assertLessEqual(set(HEAVY), set(FAULTS))

    def test_what_cuts_a_host_off_from_all_is_shorter_than_the_time_of_detection(self):
        for step in STEPS:
            if step.what in ("blink", "stand"):
                self.assertLess(2 * step.lasts_s, T_DET_S)
            elif step.what == "cut":
                self.assertEqual(len(step.detail), 1)

    def test_a_link_is_cut_between_two_hosts(self):
        for step in STEPS:
            if step.what == "cut link":
                self.assertEqual(len(set(step.hosts)), 2)
                self.assertLessEqual(set(step.hosts), set(HOSTS))
                self.assertTrue(step.detail and set(step.detail) <= set(NETWORKS))

    def test_a_move_comes_first_and_something_comes_upon_it(self):
        for schedule in MANY:
            kinds = [step.what for step in schedule.steps]
            if "migrate" in kinds:
                self.assertEqual(kinds.index("migrate"), 0)
                self.assertEqual(kinds.count("migrate"), 1)
                self.assertGreater(len(kinds), 1)

    def test_a_host_stays_away_until_it_must_have_been_noticed(self):
        for loss in LOSSES:
            self.assertTrue(loss.back_s >= 2 * T_DET_S or (loss.back_s == 0 and loss.victim == "guest"))


if __name__ == "__main__":
    unittest.main()
