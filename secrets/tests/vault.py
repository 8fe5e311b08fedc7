"""Speaks Vault's protocol: the key-value store, version 2. Prints its port. A token, then optionally a certificate with its key."""

import http.server
import json
import ssl
import sys
import threading

TOKEN = sys.argv[1]
LOG = []
VERSIONS = {"n": 1}


class Vault(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def secret(self, data, **metadata):
        self.answer(200, {"request_id": "x", "lease_id": "", "renewable": False, "lease_duration": 0, "data": {
            "data": data, "metadata": {"created_time": "2026-01-02T03:04:05.123456789Z", "custom_metadata": None,
                                       "deletion_time": "", "destroyed": False, "version": 1, **metadata}},
            "wrap_info": None, "warnings": None, "auth": None})

    def do_GET(self):
        LOG.append(self.path)
        if self.path == "/log":
            return self.answer(200, LOG[:-1])
        if self.headers.get("X-Vault-Token") != TOKEN:
            return self.answer(403, {"errors": ["permission denied"]})
        name = self.path.removeprefix("/v1/secret/data/")
        if name == "my/app":
            return self.secret({"token": "sesame", "other": "x", "number": 5, "nested": {"a": [1, None, True, 1.5]}})
        if name == "versions":
            VERSIONS["n"] += 1
            return self.secret({"token": f"v{VERSIONS['n']}"})
        if name == "expires":
            return self.secret({"token": "sesame"}, deletion_time="2100-01-01T00:00:00Z")
        if name == "deleted":
            return self.answer(404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-01T00:00:00Z"}}})
        if name == "lines":
            return self.secret({"token": "sesame\nmore"})
        if name == "moved":
            return self.answer(307, b"", [("Location", "http://127.0.0.1:%s/v1/secret/data/my/app" % self.server.server_port)])
        if name == "megabytes":
            return self.answer(200, b'{"data": "' + b"x" * (2 << 20) + b'"}')
        if name == "torn":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"data":')
            self.close_connection = True
            return None
        if name == "not-json":
            return self.answer(200, b"sesame")
        if name == "other-json":
            return self.answer(200, {"data": {"data": "sesame"}})
        if name == "sealed":
            return self.answer(503, {"errors": ["Vault is sealed"]})
        if name == "slow":
            threading.Event().wait()
        return self.answer(404, {"errors": []})

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vault)
server.daemon_threads = True
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
