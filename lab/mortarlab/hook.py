# SPDX-License-Identifier: Apache-2.0
"""Who stands at the power switches of a lab while a drill wants a host's power cut.

A host of the lab has no sysrq of its own: the kernel's would reset the machine. So `mortar-strike
power SECONDS` (src/agent/strike_main.c) leaves a request in /run/mortar-lab/hook of its host; here, outside,
the host's power is cut, and given back after SECONDS. The directory is there only while this runs: without
it the agent refuses the drill.

    with PowerHook(lab) as hook: …
"""

import pathlib
import threading
import time

from . import cgroup
from .command import LabError, say

HOOK = "run/mortar-lab/hook"
POLL_S = 0.05
SECONDS_MAX = 600


class PowerHook:
    """Serves all hosts of a lab, in a thread, until it is left."""

    def __init__(self, lab):
        self.lab = lab
        self.served = []  # (host, seconds): what was done
        self.errors = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        for host in self.lab.hosts():
            self._prepare(host)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        for host in self.lab.hosts():
            where = self._where(host)
            if where and where.is_dir():
                for file in where.iterdir():
                    file.unlink(missing_ok=True)
                where.rmdir()

    def _where(self, host):
        """The hook's directory in a host, seen from here; None while the host is off or boots."""
        leader = cgroup.leader(host.cgroup)
        if leader is None or not host.is_reachable():
            return None
        return pathlib.Path(f"/proc/{leader}/root") / HOOK

    def _prepare(self, host):
        where = self._where(host)
        if where and not where.is_dir():
            where.mkdir(parents=True, mode=0o700)

    def _serve(self):
        while not self.stopping.wait(POLL_S):
            for host in self.lab.hosts():
                try:
                    self._prepare(host)
                    self._serve_host(host)
                except (LabError, OSError, ValueError) as error:
                    self.errors.append(f"{host.name}: {error}")

    def _serve_host(self, host):
        where = self._where(host)
        request = where / "request" if where else None
        if request is None or not request.exists():
            return
        word, seconds = request.read_text().split()
        request.unlink()
        if word != "power" or not 0 <= int(seconds) <= SECONDS_MAX:
            raise ValueError(f"no request: {word} {seconds}")
        say(f"{host.name}: power cut for {seconds} s, as its drill asks")
        self.lab.cut(host.name)
        self.served.append((host.name, int(seconds)))
        self._wait(int(seconds))
        self.lab.boot(host.name)

    def _wait(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.stopping.wait(POLL_S):
            pass
