# SPDX-License-Identifier: Apache-2.0
"""Children of a test run: each with a deadline and a log, none outliving the run."""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
POLITE_S = 90  # fixtures take a lab down within this after SIGINT
BEAT_S = 30
TEMPORARY_PREFIX = "mortar-run-"


class Interrupted(Exception):
    """The run was asked to stop while a child ran."""


class Runner:
    """Starts children one after the other; adopts what they leave, and ends it."""

    def __init__(self, tree, logs, seed, full):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.tree = tree
        self.logs = logs
        self.seed = seed
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        self.temporary = pathlib.Path(
            tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-", dir="/tmp"))
        self.temporary.chmod(0o711)  # what gave up root's rights, as QEMU, finds its files below it
        self.env = clean_environment(tree)
        self.env.update(TMPDIR=str(self.temporary), MORTAR_SEED=str(seed))
        if full:
            self.env["MORTAR_FULL"] = "1"
        self.last_pid = 0

    def log_of(self, name):
        """Where a child of this name writes."""
        return self.logs / f"{name}.log"

    def run(self, name, argv, deadline_s, **more_env):
        """Run argv to its end. Return its exit code, or None when the deadline ended it."""
        end = time.monotonic() + deadline_s
        with open(self.log_of(name), "ab") as log:
            child = subprocess.Popen(
                [str(word) for word in argv], cwd=self.tree, env={**self.env, **more_env},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True)
        self.last_pid = child.pid
        try:
            code = self._wait(child, name, end)
        except KeyboardInterrupt:
            self._stop(child)
            raise Interrupted from None
        if code is None:
            self._stop(child)
        return code

    def _wait(self, child, name, end):
        beat = time.monotonic() + BEAT_S
        while time.monotonic() < end:
            try:
                return child.wait(timeout=min(1.0, max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > beat:
                print(f"   … {name}: {self.last_words(name)}", flush=True)
                beat += BEAT_S
        return None

    def _stop(self, child):
        """SIGINT first, so that the child can undo what it did."""
        for signal_number, patience_s in ((signal.SIGINT, POLITE_S), (signal.SIGKILL, 5)):
            try:
                os.killpg(child.pid, signal_number)
                child.wait(timeout=patience_s)
                return
            except ProcessLookupError:
                child.wait()
                return
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                pass  # impatient users get the harder signal at once

    def last_words(self, name, lines=1, width=100):
        """The end of a child's log."""
        with open(self.log_of(name), "rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16384))
            text = log.read().decode(errors="replace")
        kept = [line.rstrip()[:width] for line in text.splitlines() if line.strip()]
        return "\n".join(kept[-lines:])

    def end_descendants(self):
        """Kill what children left running; say its names."""
        told = set()
        for _ in range(100):
            reap()
            found = descendants(os.getpid())
            if not found:
                return
            for pid, words in found:
                if pid not in told:
                    print(f"   ended a process that was left behind: {words}", flush=True)
                    told.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    def close(self):
        """The end of the run."""
        self.end_descendants()
        shutil.rmtree(self.temporary, ignore_errors=True)


def clean_environment(tree):
    """The caller's environment without what would bring other programs than Debian's."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("PYTHON", "PYENV", "MORTAR_", "MESON", "GIT_"))}
    env["PATH"] = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    env["LC_ALL"] = "C.UTF-8"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    # The clone may belong to another user than root.
    env.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0=str(tree))
    return env


def reap():
    """Collect dead children that were adopted."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def descendants(root):
    """[(pid, command)] of all living processes below root."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = pathlib.Path(f"/proc/{entry}/stat").read_text()
                words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            state, parent = text.rpartition(")")[2].split()[:2]
            if state != "Z":
                shown = words.replace(b"\0", b" ").decode(errors="replace").strip()
                parents[int(entry)] = (int(parent), shown[:100] or text.split()[1])
    found = []
    below = {root}
    while True:
        more = [pid for pid, (parent, _) in parents.items() if parent in below and pid not in below]
        if not more:
            return found
        below.update(more)
        found += [(pid, parents[pid][1]) for pid in more]
