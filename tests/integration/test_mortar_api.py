# SPDX-License-Identifier: Apache-2.0
"""The program mortar-api: options, rights, readiness. test_mortar_api.py PROGRAM"""
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest
import urllib.request

PROGRAM = ""
PATIENCE_S = 60


def make_certs(folder):
    """A certificate good for 127.0.0.1 that is its own authority; openssl, since the product's own are
    tested elsewhere."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/O=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", f"{folder}/host.key", "-out", f"{folder}/host.crt"],
        check=True, stderr=subprocess.DEVNULL)
    os.link(f"{folder}/host.crt", f"{folder}/ca.crt")


class Program(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mortar-api-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_to_end(self, *options):
        return subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=PATIENCE_S)

    def start(self, *options):
        """Run it and wait until it says that it is ready. Return: the process and its port."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.bind(f"{self.folder}/notify")
        notify.settimeout(PATIENCE_S)
        os.chmod(self.folder, 0o755)  # as systemd's own socket, it is for any user
        os.chmod(f"{self.folder}/notify", 0o777)
        process = subprocess.Popen(
            [PROGRAM, "--listen", "127.0.0.1:0", "--agent-socket", f"{self.folder}/none", *options],
            env={"NOTIFY_SOCKET": f"{self.folder}/notify", "CREDENTIALS_DIRECTORY": self.folder},
            stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        try:
            self.assertIn(b"READY=1", notify.recv(4096))
        except TimeoutError:
            process.kill()
            self.fail("not ready: " + process.stderr.read())
        return process, int(process.stderr.readline().split("port=")[1])

    def test_help_and_version_are_told(self):
        help_text = self.run_to_end("--help")
        self.assertEqual(help_text.returncode, 0)
        for option in ("--listen", "--agent-socket", "--cert-dir", "--user"):
            self.assertIn(option, help_text.stdout)
        self.assertRegex(self.run_to_end("--version").stdout, r"^mortar-api \d+\.\d+\.\d+\n$")

    def test_wrong_use_exits_with_2_and_missing_certificates_with_3(self):
        self.assertEqual(self.run_to_end("--nonsense").returncode, 2)
        self.assertEqual(self.run_to_end("word").returncode, 2)
        self.assertEqual(self.run_to_end("--cert-dir", "/nonexistent").returncode, 3)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_started_as_root_it_serves_as_another_user_without_rights(self):
        make_certs(self.folder)
        process, port = self.start("--user", "nobody")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        self.assertNotIn("0", status["Uid"].split() + status["Gid"].split())
        self.assertEqual(status["Groups"].strip(), "")
        self.assertEqual(int(status["CapEff"], 16) | int(status["CapPrm"], 16), 0)
        trust = ssl.create_default_context(cafile=f"{self.folder}/ca.crt")
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/v1/ping", context=trust,
                                    timeout=PATIENCE_S) as reply:
            self.assertEqual(json.load(reply)["caller"], "anonymous")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE_S), 0)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_it_never_serves_as_root(self):
        make_certs(self.folder)
        for user in ("root", "no-such-user-here"):
            done = self.run_to_end("--listen", "127.0.0.1:0", "--cert-dir", self.folder, "--user", user)
            self.assertEqual(done.returncode, 3, done.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
