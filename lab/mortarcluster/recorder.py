# SPDX-License-Identifier: Apache-2.0
"""Listens to a guest's heartbeat on all hosts and stamps each line with one clock, outside.

The hosts of a lab share a kernel, so their sockets can be reached through /proc, and the stamps of
two hosts compare: docs/guest.md says why this is the honest number.
"""

import re
import select
import socket
import threading
import time

from mortarlab import cgroup

from .history import Beat

RETRY_S = 0.004
LOOK_UP_S = 0.25
TICK = re.compile(rb"tick (\d+) mono_ns=(\d+) .*?epoch=(\d+) issued=(\d+) acked=(\d+) flushed=(\d+)")


class Recorder:
    """with Recorder(lab, "demo") as heart: …; heart.gap()"""

    def __init__(self, lab, name, hosts=None, keys=None):
        """keys: a KeyGiver that answers a guest which asks."""
        self.keys = keys
        self.paths = {}
        self.lines = []  # (stamp_s, host, tick, {epoch, issued, acked, flushed}), in order of arrival
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = []
        self.socks = {}  # host: [socket, what it said of a line that is not whole, has it ended], under the lock
        for host in hosts or [h.name for h in lab.hosts() if h.role != "witness"]:
            leader = lambda group=lab.host(host).cgroup: cgroup.leader(group)  # noqa: E731
            path = f"/run/mortar/channel/{name}.demo.sock"
            self.threads.append(threading.Thread(target=self._listen, daemon=True,
                                                 args=(host, leader, path)))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _listen(self, host, leader, path):
        """Connect whenever there is a guest, read until it goes. Where none is this is asked 250 times a second: who
        the host's first process is costs more than that, and is looked up four times a second. That the last one found is
        still there would prove nothing: its number may be another one's by now."""
        pid, looked_at = None, -LOOK_UP_S
        while not self.stopping.is_set():
            if time.monotonic() - looked_at >= LOOK_UP_S:
                pid, looked_at = leader(), time.monotonic()
            sock = socket.socket(socket.AF_UNIX)
            try:
                if pid is None or sock.connect_ex(f"/proc/{pid}/root{path}") != 0:
                    time.sleep(RETRY_S)
                    continue
                sock.setblocking(False)
                with self.lock:
                    self.socks[host] = [sock, b"", False]
                while not self.stopping.is_set() and not self.socks[host][2]:
                    if select.select([sock], [], [], 0.2)[0]:
                        self._read_all()
            except OSError:
                time.sleep(RETRY_S)
            finally:
                with self.lock:
                    self.socks.pop(host, None)
                    sock.close()

    def _read_all(self):
        """What all hosts have said by now. A process that stood still over a move finds the end of one host's lines beside
        the begin of the other's: which thread reads first says nothing, but the guest has numbered them."""
        with self.lock:
            now = time.monotonic()
            found = [line for host in self.socks for line in self._read(host, now)]
            if len({line[1] for line in found}) > 1:
                found.sort(key=lambda line: line[2])
            self.lines += found

    def _read(self, host, now):
        """The lines that are there now, under the lock."""
        entry = self.socks[host]
        try:
            data = entry[0].recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        entry[2] = not data
        *lines, entry[1] = (entry[1] + data).split(b"\n")
        for line in lines:
            match = TICK.match(line)
            answer = self.keys.answer(line) if self.keys and not match else None
            if answer:
                entry[0].sendall(answer)
            if match:
                epoch, issued, acked, flushed = (int(n) for n in match.groups()[2:])
                if self.keys:
                    self.keys.hear(epoch)
                yield now, host, int(match[1]), {"epoch": epoch, "issued": issued, "acked": acked, "flushed": flushed}

    def mark(self):
        """The number of lines so far: the start of what to look at."""
        return len(self.lines)

    def keep_last(self):
        """Forget all lines but the newest one."""
        with self.lock:
            self.lines = self.lines[-1:]

    def last(self):
        """The newest line, or None."""
        with self.lock:
            return self.lines[-1] if self.lines else None

    def beats(self):
        """All lines, as the judge of histories takes them."""
        with self.lock:
            return [Beat(at, host, words["epoch"], words["acked"], words["flushed"])
                    for at, host, _, words in self.lines]

    def wait_for(self, condition, within_s=120):
        """Wait until condition(newest line) holds; return that line."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            newest = self.last()
            if newest and condition(newest):
                return newest
            time.sleep(0.02)
        raise TimeoutError(f"the guest's heartbeat did not come within {within_s} s: {self.last()}")

    def handover_ms(self, start, to):
        """Milliseconds from the last line of another host to the first line of host `to`, and
        whether time only went forward, among the lines from mark() start on."""
        with self.lock:
            lines = self.lines[start:]
        first = next((line for line in lines if line[1] == to), None)
        before = [line for line in lines if line[1] != to and first and line[0] <= first[0]]
        if first is None or not before:
            raise AssertionError(f"no heartbeat from before and after the move to {to}")
        ticks = [line[2] for line in lines]
        return (first[0] - before[-1][0]) * 1e3, ticks == sorted(set(ticks))
