# SPDX-License-Identifier: Apache-2.0
"""A TCP session with the demo guest's server (docs/guest.md), from a host's end of the VM network."""

import ctypes
import re
import socket
import threading
import time

from mortarlab import net

CLONE_NEWNET = 0x40000000
PORT = 7
NUMBER = re.compile(rb"n (\d+) mono_ns=\d+\n")
FILLER = b"x"  # what echo() sends: it occurs in no line of the server


def connect_inside(namespace, address, timeout_s):
    """A connected socket of another network namespace; this process stays where it is."""
    result = []

    def enter_and_connect():
        try:
            with open(f"/run/netns/{namespace}", encoding="ascii") as there:
                if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(socket.create_connection(address, timeout_s))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=enter_and_connect)  # setns() is for one thread only
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


class Session:
    """with Session(lab, "host1", "10.99.0.2") as session: … ; one connection, never renewed."""

    def __init__(self, lab, host, address, timeout_s=30):
        self.sock = connect_inside(net.host_ns(lab.name, host), (address, PORT), timeout_s)
        self.buffer = b""
        self.next = 0    # the number that must come
        self.echoed = 0  # bytes that came back

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def _read(self):
        data = self.sock.recv(65536)
        if not data:
            raise AssertionError(f"the guest ended the session after number {self.next - 1}")
        self.echoed += data.count(FILLER)
        self.buffer += data.replace(FILLER, b"")
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            found = NUMBER.fullmatch(line + b"\n")
            if not found or int(found[1]) != self.next:
                raise AssertionError(f"{line!r} came instead of number {self.next}")
            self.next += 1

    def wait_for(self, count, within_s=120):
        """Until count more numbers came, none missing."""
        goal, end = self.next + count, time.monotonic() + within_s
        while self.next < goal:
            if time.monotonic() > end:
                raise TimeoutError(f"number {self.next} did not come within {within_s} s")
            self._read()

    def echo(self, size, within_s=120):
        """Until size bytes went there and back, in full frames."""
        self.echoed, end = 0, time.monotonic() + within_s
        sent = 0
        while self.echoed < size:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.echoed} of {size} bytes came back within {within_s} s")
            if sent - self.echoed < 4096:
                sent += self.sock.send(FILLER * min(4096, size - sent))
            self._read()
