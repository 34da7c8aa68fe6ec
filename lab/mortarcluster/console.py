# SPDX-License-Identifier: Apache-2.0
"""A VM's serial console as a user of the command sees it, line by line."""

import re
import subprocess
import threading
import time


class Console:
    """`mortar vm console NAME` on a host, line by line: with Console(cluster, "host1", "x") as it: …"""

    def __init__(self, cluster, host, name, on_line=lambda line: None):
        self.lines = []
        self.on_line = on_line
        self.cluster, self.host, self.name = cluster, host, name
        self._begin()

    def _begin(self):
        self.child = self.cluster.lab.popen(self.host, ["mortar", "vm", "console", self.name],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _end(self):
        self.child.kill()
        self.child.wait()
        self.child.drop_group()
        self.thread.join()

    def _read(self):
        for raw in self.child.stdout:
            line = raw.decode(errors="replace").strip("\r\n")
            self.lines.append(line)
            self.on_line(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def say(self, words):
        """Type a line. Who needs it to be heard says it again: a command that was refused, as by an agent that has just
        begun, is given anew, and a guest may miss keys."""
        try:
            self.child.stdin.write(words.encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            self._end()
            self._begin()

    def wait_for(self, pattern, within_s=120, start=0):
        """The first match of pattern in a line from number start on."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            found = next((m for line in self.lines[start:] if (m := re.search(pattern, line))), None)
            if found:
                return found
            time.sleep(0.05)
        raise TimeoutError(f"no {pattern!r} on the console within {within_s} s: {self.lines[-5:]}")
