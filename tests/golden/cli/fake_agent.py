# SPDX-License-Identifier: Apache-2.0
"""An agent that answers from a table, on a unix socket, and remembers what it was asked."""
import http.server
import json
import os
import socketserver
import ssl
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *args):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        agent = self.server.agent
        if self.headers.get("Upgrade"):
            agent.on_upgrade(self)
            return
        with agent.lock:
            agent.requests.append(f"{self.command} {self.path} {body}".strip())
            if self.command != "GET":
                agent.ids.append(self.headers.get("Mortar-Request-Id"))
                if not agent.ids[-1]:
                    agent.requests.append("(without request id)")
            answers = agent.answers.get(f"{self.command} {self.path.split('?')[0]}")
            answer = answers[0] if answers else {
                "status": 404,
                "reply": {"error": {"name": "object.not-found", "message": f"there is no {self.path}"}},
            }
            if answers and len(answers) > 1:
                answers.pop(0)
        if answer.get("drop"):
            self.close_connection = True
            return
        text = answer["text"] if "text" in answer else json.dumps(answer["reply"])
        data = text.encode()
        self.send_response(answer.get("status", 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = answer


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that was interrupted is no error here."""


class TlsServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


def tls_context(pki):
    """A server that wants certificates of the authority in the directory pki."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pki}/host.crt", f"{pki}/host.key")
    context.load_verify_locations(f"{pki}/ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class FakeAgent:
    """answers: {"GET /v1/x": [answer, ...]}: one after the other, the last for ever."""

    def __init__(self, path, answers, on_upgrade=None, tls=None):
        """path: of the socket, or with tls (a context) an address for port 8843"""
        self.path = path
        self.tls = tls
        self.answers = {key: list(value) for key, value in answers.items()}
        self.on_upgrade = on_upgrade
        self.requests = []
        self.ids = []  # of requests that change something
        self.lock = threading.Lock()

    def __enter__(self):
        if self.tls:
            self.server = TlsServer((self.path, 8843), Handler)
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        else:
            self.server = Server(self.path, Handler)
        self.server.agent = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()
        if not self.tls:
            os.unlink(self.path)
