# SPDX-License-Identifier: Apache-2.0
"""The mortar command on a terminal, interrupted, and while its agent restarts."""
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from cases import BYTES, MOVED, STARTED, VM, error, host, ok, steps, task
from fake_agent import FakeAgent, tls_context

MORTAR = str(pathlib.Path(sys.argv[1]).absolute())
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: mortar-console\r\n\r\n"


OTHER_HOST = "127.83.0.9"  # of this machine, but nobody else uses it


def make_pki(directory):
    """ca.crt, host.crt and host.key, as io/pki.h names them."""
    os.makedirs(directory)
    for command in (
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /O=CA "
            "-keyout ca.key -out ca.crt",
            f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=Mortar "
            f"-addext subjectAltName=IP:{OTHER_HOST} -keyout host.key -out host.csr",
            "x509 -req -in host.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
            "-copy_extensions copy -out host.crt"):
        subprocess.run(["openssl", *command.split()], cwd=directory, check=True, timeout=120,
                       stdin=subprocess.DEVNULL, capture_output=True)


class Session:
    """mortar on a pseudo terminal."""

    def __init__(self, argv, sock, **more):
        env = {"PATH": os.environ["PATH"], "TERM": "xterm", "TZ": "UTC", "HOME": "/",
               "MORTAR_SOCKET": sock, **more}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(MORTAR, [MORTAR, *argv], env)
        self.seen = b""

    def read_until(self, text, limit_s=120):
        end = time.monotonic() + limit_s
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {text!r} in {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 4096)
            except OSError as gone:
                raise AssertionError(f"ended without {text!r} after {self.seen!r}") from gone

    def send(self, data):
        os.write(self.fd, data)

    def finish(self):
        while True:
            try:
                piece = os.read(self.fd, 4096)
            except OSError:
                break
            if not piece:
                break
            self.seen += piece
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


class Interactive(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory(prefix="mortar-cli.")
        self.sock = f"{self.tmp.name}/agent.sock"

    def tearDown(self):
        self.tmp.cleanup()

    def test_progress_is_one_line_redrawn_in_place(self):
        answers = {"POST /v1/vms/demo/migrate": [STARTED], "GET /v1/vms/demo": ok(VM),
                   "GET /v1/tasks/t7": steps(task(phase="check"), task(progress=BYTES, gen=2), MOVED)}
        with FakeAgent(self.sock, answers):
            session = Session(["vm", "migrate", "demo"], self.sock)
            code = session.finish()
        self.assertEqual(code, 0)
        self.assertIn(b"\r\x1b[KCopy the memory              [######..............]  33 %  "
                      b"100 MiB of 300 Mi", session.seen)
        self.assertTrue(session.seen.endswith(
            b"\r\x1b[Kvm 'demo' runs on host1; moved in 1312 ms, paused for 83 ms\r\n"
            b"chosen: host1: 20.5 GiB of memory free, as asked\r\n"), session.seen)
        self.assertEqual(session.seen.count(b"\n"), 2)

    def test_interrupt_leaves_the_task_and_says_how_to_watch_it(self):
        answers = {"GET /v1/tasks/t7": ok(task())}
        with FakeAgent(self.sock, answers) as agent:
            session = Session(["task", "wait", "t7"], self.sock)
            session.read_until(b"Copy the memory")
            os.kill(session.pid, signal.SIGINT)
            self.assertEqual(session.finish(), 130)
            self.assertFalse([r for r in agent.requests if not r.startswith("GET")])
        self.assertIn(b"mortar task wait t7", session.seen)

    def test_a_change_waits_until_an_election_is_over(self):
        answers = {"POST /v1/vms/demo/start": error(503, "store.unavailable", "no leader") + [STARTED],
                   "GET /v1/tasks/t7": steps(task("done", "handover"))}
        with FakeAgent(self.sock, answers) as agent:
            done = subprocess.run([MORTAR, "vm", "start", "demo"], text=True, capture_output=True, timeout=120,
                                  env={**os.environ, "MORTAR_SOCKET": self.sock})
        self.assertEqual((done.returncode, done.stderr.count("no leader")), (0, 0), done)
        self.assertEqual(sum(r.startswith("POST") for r in agent.requests), 2, agent.requests)
        self.assertEqual(len(set(agent.ids)), 1, "one request, sent twice")

    def test_wait_survives_a_restart_of_the_agent(self):
        env = {**os.environ, "MORTAR_SOCKET": self.sock}
        dropped = {"GET /v1/tasks/t7": [{"reply": task()}, {"drop": True}]}
        with FakeAgent(self.sock, dropped) as agent:
            process = subprocess.Popen([MORTAR, "task", "wait", "t7"], env=env, text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while len(agent.requests) < 2:
                time.sleep(0.02)
        time.sleep(0.7)
        with FakeAgent(self.sock, {"GET /v1/tasks/t7": ok(task("done", "handover"))}):
            out, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, out), (0, "task t7 is done\n"), err)
        self.assertEqual(err, "demo: Copy the memory\ndemo: Resume on the target\n")

    def test_console_follows_the_machine_and_ends_on_the_escape_key(self):
        opened = []

        def console(request):
            opened.append(request.path)
            request.close_connection = True
            if len(opened) == 2:  # it has left, and the record does not say so yet
                body = b'{"error":{"name":"object.not-found","message":"there is no console"}}'
                request.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s"
                                    % (len(body), body))
                return
            request.wfile.write(UPGRADED + b"login%d: " % len(opened))
            if len(opened) == 1:
                self.assertEqual(request.connection.recv(100), b"ro")
                request.wfile.write(b"moving")
                return
            while request.connection.recv(100):
                pass

        moved = {**VM, "host": "host2"}
        with FakeAgent(self.sock, {"GET /v1/vms/demo": ok(moved)}, console):
            session = Session(["vm", "console", "demo"], self.sock)
            session.read_until(b"login1: ")
            session.send(b"ro")
            session.read_until(b"moving")
            session.read_until(b"[connected again, the machine is on host2]")
            session.read_until(b"login3: ")
            session.send(b"\x1d")
            self.assertEqual(session.finish(), 0)
        self.assertEqual(opened, ["/v1/vms/demo/console"] * 3)

    def test_console_is_opened_on_another_host_over_tls(self):
        def elsewhere(request):
            request.close_connection = True
            body = json.dumps(error(502, "host.unreachable", "it runs elsewhere")[0]["reply"]).encode()
            request.wfile.write(b"HTTP/1.1 502 Bad\r\nContent-Length: %d\r\n\r\n%s"
                                % (len(body), body))

        def console(request):
            request.close_connection = True
            request.wfile.write(UPGRADED + b"x" * 100000 + b"login: ")
            self.assertEqual(request.connection.recv(100), b"root")
            request.wfile.write(b"welcome")
            request.connection.recv(100)

        pki = f"{self.tmp.name}/.config/mortar"
        make_pki(pki)
        there = {**host("host2"), "addresses": {"mgmt": OTHER_HOST}}
        answers = {"GET /v1/vms/demo": ok({**VM, "host": "host2"}), "GET /v1/hosts/host2": ok(there)}
        with FakeAgent(self.sock, answers, elsewhere), \
                FakeAgent(OTHER_HOST, answers, console, tls_context(pki)):
            session = Session(["vm", "console", "demo"], self.sock, HOME=self.tmp.name)
            session.read_until(b"xlogin: ")
            session.send(b"root")
            session.read_until(b"welcome")
            session.send(b"\x1d")
            self.assertEqual(session.finish(), 0)
            session = Session(["--host", OTHER_HOST, "vm", "show", "demo"], self.sock,
                              HOME=self.tmp.name)
            self.assertEqual(session.finish(), 0, session.seen)

    def test_another_host_needs_a_certificate(self):
        session = Session(["--host", OTHER_HOST, "status"], self.sock, HOME=self.tmp.name)
        self.assertEqual(session.finish(), 7)
        self.assertIn(b"there is no certificate to speak to another host with", session.seen)

    def test_console_ends_when_the_machine_stops(self):
        def console(request):
            request.close_connection = True
            request.wfile.write(UPGRADED + b"Power down\r\n")

        answers = {"GET /v1/vms/demo": steps(VM, {**VM, "state": "stopped", "host": None})}
        with FakeAgent(self.sock, answers, console):
            session = Session(["vm", "console", "demo"], self.sock)
            self.assertEqual(session.finish(), 0)
        self.assertIn(b"[the machine stopped]", session.seen)

    def test_console_says_why_it_is_refused(self):
        def console(request):
            body = b'{"error":{"name":"object.busy","message":"somebody uses the console"}}'
            request.close_connection = True
            request.wfile.write(b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%s"
                                % (len(body), body))

        with FakeAgent(self.sock, {"GET /v1/vms/demo": ok(VM)}, console):
            done = subprocess.run([MORTAR, "vm", "console", "demo"], text=True, capture_output=True,
                                  env={"MORTAR_SOCKET": self.sock}, stdin=subprocess.DEVNULL,
                                  timeout=120, check=False)
        self.assertEqual((done.returncode, done.stderr), (5, "mortar: somebody uses the console\n"))

    def test_colours_only_on_a_terminal_that_wants_them(self):
        answers = {"GET /v1/vms": ok({"items": [VM]})}
        with FakeAgent(self.sock, answers):
            session = Session(["vm", "ls"], self.sock)
            self.assertEqual(session.finish(), 0)
            self.assertIn(b"\x1b[32mrunning\x1b[0m", session.seen)
            session = Session(["vm", "ls"], self.sock, NO_COLOR="1")
            self.assertEqual(session.finish(), 0)
            self.assertNotIn(b"\x1b", session.seen)

    def test_bash_completes_words_options_and_names(self):
        script = """
source <("$MORTAR" completion bash)
timeout() { echo demo web; }
t() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mortar; echo "${COMPREPLY[*]}"; }
t mortar v; t mortar vm m; t mortar vm migrate ""; t mortar vm migrate demo --t
t mortar vm migrate demo --to w; t mortar pool create x --type ""; t mortar --json vm stop w
t mortar image export debian /etc/hostn; t mortar help po; t mortar task wait t7 --no
"""
        done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, timeout=120,
                              env={"PATH": os.environ["PATH"], "MORTAR": MORTAR}, check=True)
        self.assertEqual(done.stdout.splitlines(), [
            "vm version", "migrate", "demo web", "--to", "web", "gluster dir", "web",
            "/etc/hostname", "pool", "--no-wait"], done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])
