# SPDX-License-Identifier: Apache-2.0
"""Gives each start of a guest the number and the key of its epoch, from outside the guest (docs/guest.md). Pure.

The guest asks on its channel before it writes; who listens there answers. Each number is given once, so a guest has
never known the key of another epoch; the judge, who knows what all are derived from, knows all.
"""

import hmac
import re
import threading

SECRET = bytes.fromhex("4d6f72746172206b6565707320697421")  # never inside a guest
QUESTION = re.compile(rb"key\? boot=([0-9a-f]{32}) epoch=(\d+)$")
KEYS_MAX = 256  # of guest/check.c


def key_of(epoch):
    """The key of an epoch, in hex."""
    return hmac.digest(SECRET, str(epoch).encode(), "sha256").hex()


class KeyGiver:
    """answer(line) → bytes for the guest, or None; several threads may ask."""

    def __init__(self):
        self.lock = threading.Lock()
        self.newest = 0
        self.given = {}  # boot id → epoch
        self.is_held = False
        self.waiting = set()  # boot ids that have asked while nobody was answered

    def hold(self):
        """From now on a guest that starts has judged its disk and does not write to it, until release()."""
        with self.lock:
            self.is_held = True
            self.waiting.clear()

    def release(self):
        """Answer again: guests go on asking."""
        self.is_held = False

    def answer(self, line):
        """What is to be said to a line of the channel. A start that asks again gets the same number, unless its disk has it."""
        match = QUESTION.match(line)
        if not match:
            return None
        boot, on_disk = match[1], int(match[2])
        with self.lock:
            if self.is_held:
                self.waiting.add(boot)
                return None
            if self.given.get(boot, 0) <= on_disk:
                self.newest = max(self.newest, on_disk) + 1
                self.given[boot] = self.newest
            epoch = self.given[boot]
        return b"key boot=%s epoch=%d %s\n" % (boot, epoch, key_of(epoch).encode())

    def hear(self, epoch):
        """An instance that somebody else gave its key to is in this epoch."""
        with self.lock:
            self.newest = max(self.newest, epoch)

    def words(self):
        """Words for guest/check: the keys of all epochs so far, the newest ones if there are too many."""
        with self.lock:
            epochs = range(max(1, self.newest - KEYS_MAX + 1), self.newest + 1)
        return [word for epoch in epochs for word in ("--key", f"{epoch}:{key_of(epoch)}")]
