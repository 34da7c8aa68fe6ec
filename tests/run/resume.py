# SPDX-License-Identifier: Apache-2.0
"""What a stopped `./test --full` has already proved for exactly this content of the tree."""

import hashlib
import json
import subprocess

import process
import results


class Memory:
    """Suites and files of the lab that passed, with their counts. Not in use: remembers and recalls nothing."""

    def __init__(self, path, tree, in_use):
        self.path = path
        self.in_use = in_use
        self.seed = None
        self.done = {}
        self.key = hash_of_tree(tree) if in_use else ""
        if in_use and path.exists():
            saved = json.loads(path.read_text())
            if saved["key"] == self.key:
                self.seed = saved["seed"]
                self.done = saved["done"]

    def begin(self, seed):
        """Fix the seed; with another one than before, nothing counts as done."""
        if seed != self.seed:
            self.done = {}
        self.seed = seed
        self._save()

    def recall(self, name):
        """The Tally of what passed before, or None."""
        if not self.in_use or name in ("packages", "build") or name not in self.done:
            return None
        passed, skips = self.done[name]
        return results.Tally(passed, (), skips)

    def remember(self, name, tally):
        """This one passed."""
        self.done[name] = [tally.passed, tally.skips]
        self._save()

    def forget(self):
        """All passed: the next run begins anew."""
        if self.in_use:
            self.path.unlink(missing_ok=True)

    def _save(self):
        if self.in_use:
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps({"key": self.key, "seed": self.seed, "done": self.done}))
            part.rename(self.path)


def hash_of_tree(tree):
    """Over names and content of all files that git knows or would add."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=tree,
        env=process.clean_environment(tree), check=True, capture_output=True, text=True).stdout
    total = hashlib.sha256()
    for name in sorted(set(names.split("\0"))):
        path = tree / name
        if name and path.is_file():
            total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
