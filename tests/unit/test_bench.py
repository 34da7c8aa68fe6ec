# SPDX-License-Identifier: Apache-2.0
"""What benchmarks and quickstart say before they begin; none of them is let go on."""
import contextlib
import io
import json
import pathlib
import runpy
import subprocess
import sys
import unittest
from unittest import mock

TREE = pathlib.Path(__file__).resolve().parents[2]
BENCHES = sorted(p for p in (TREE / "bench").iterdir() if p.is_file() and not p.suffix)
QUICKSTART = TREE / "tools/quickstart.py"
sys.path[:0] = [str(TREE / "lab"), str(TREE / "bench"), str(TREE / "tools")]

import mortarlab  # noqa: E402 (the path must come first)
import packages  # noqa: E402
from mortarlab import capability  # noqa: E402

ASKED = {"kvm", "netem", "watchdog", "delegated_cgroup"}  # issue 2 point 2


class Begun(Exception):
    """Something is done to this machine."""


def begin(*_args, **_options):
    """In place of what would change anything."""
    raise Begun


def said(path, run):
    """What is printed until run() begins."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(mock.patch.object(sys, "argv", [str(path)]))
        for holder, name in ((subprocess, "run"), (subprocess, "Popen"), (mortarlab.Lab, "up"), (mortarlab.Lab, "down")):
            stack.enter_context(mock.patch.object(holder, name, begin))
        with contextlib.suppress(Begun):
            run()
    return out.getvalue()


class Starts(unittest.TestCase):
    def setUp(self):
        self.known = mortarlab.find_capabilities()  # kept: it tries things, and what is done later may not
        self.assertLess(ASKED, set(self.known))

    def test_a_benchmark_tells_the_machine_before_anything_is_done(self):
        self.assertGreater(len(BENCHES), 5)
        for path in BENCHES:
            with self.subTest(path.name):
                first = said(path, lambda: runpy.run_path(str(path), run_name="__main__")).split("\n")[0]
                self.assertEqual(json.loads(first)["capabilities"],
                                 {name: entry["value"] for name, entry in self.known.items()})

    def test_quickstart_tells_the_machine_before_it_builds(self):
        quickstart = runpy.run_path(str(QUICKSTART))
        with mock.patch.object(packages, "install", lambda groups: None):
            words = said(QUICKSTART, lambda: quickstart["prepare"](False))
        for line in capability.format_table(self.known):
            self.assertIn(f"    {line}\n", words)


if __name__ == "__main__":
    unittest.main()
