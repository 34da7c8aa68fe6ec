# SPDX-License-Identifier: Apache-2.0
"""A full run of ./test that was stopped goes on where it was: nothing is counted that did not pass on this very tree."""
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests/run"))

import results  # noqa: E402 (the path must come first)
import resume  # noqa: E402
import suites  # noqa: E402

LAB_FILE = TREE / "tests/lab/test_lab.py"
SEED = 7


class Resume(unittest.TestCase):
    """One file of the lab, in runs one after the other."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.ran = []

    def run_once(self, fails=False, content="as it is", in_use=True, seed=SEED):
        """One ./test; its Tally."""
        def run_pytest(_runner, _settings, tally, label, _path, _deadline_s):
            self.ran.append(label)
            tally.passed += 3
            tally.skip("one", "no KVM")
            if fails:
                tally.fail(label, "red")
        with mock.patch.object(resume, "hash_of_tree", lambda _tree: content), \
                mock.patch.object(suites, "run_pytest", run_pytest), mock.patch("builtins.print"):
            memory = resume.Memory(pathlib.Path(self.directory.name) / "resume.json", TREE, in_use)
            memory.begin(seed)
            tally = results.Tally()
            suites.run_lab_file(None, suites.Settings(TREE, "full", False, memory), tally, LAB_FILE, 60)
            return tally

    def test_a_file_that_passed_is_counted_and_not_run_again(self):
        first, second = self.run_once(), self.run_once()
        self.assertEqual(self.ran, ["lab-lab"])
        self.assertEqual((first.passed, first.skips), (second.passed, second.skips))
        self.assertEqual((second.passed, second.skips), (3, [("one", "no KVM")]))

    def test_a_file_that_failed_is_run_again(self):
        self.assertEqual(len(self.run_once(fails=True).failures), 1)
        self.assertEqual(self.run_once().failures, [])
        self.assertEqual(len(self.ran), 2)

    def test_another_tree_or_seed_proves_nothing(self):
        self.run_once()
        self.run_once(content="changed")
        self.run_once(content="changed", seed=SEED + 1)
        self.assertEqual(len(self.ran), 3)

    def test_a_run_that_is_not_full_remembers_nothing(self):
        self.run_once(in_use=False)
        self.run_once(in_use=False)
        self.assertEqual(len(self.ran), 2)


if __name__ == "__main__":
    unittest.main()
