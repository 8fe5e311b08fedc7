"""What is behind nginx, and one server that speaks TLS in Python: echo, events, redirects, git's smart HTTP, a little of S3 and of GitHub.

Words: certificate, key, the directory of repositories.
"""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading

CERTIFICATE, KEY, REPOSITORIES = sys.argv[1:4]
BUCKETS = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>1</ID></Owner><Buckets><Bucket><Name>answered</Name>
<CreationDate>2024-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while (length := int(self.rfile.readline().split(b";")[0], 16)) > 0:
            pieces.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def answer(self, body, kind="application/json", status=200, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def events(self, lines):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def git(self, body):
        path, _, query = self.path.partition("?")
        environment = dict(os.environ, GIT_PROJECT_ROOT=REPOSITORIES, GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path.removeprefix("/git"), QUERY_STRING=query,
                           REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get("Content-Type", ""), CONTENT_LENGTH=str(len(body)),
                           HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""), GIT_PROTOCOL=self.headers.get("Git-Protocol", ""), REMOTE_USER="me", REMOTE_ADDR="127.0.0.1")
        environment.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
        made = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment).stdout
        head, _, answer = made.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200 OK").split()[0])
        self.answer(answer, fields.pop("Content-Type", "text/plain"), status, fields.items())

    def any(self):
        body, path = self.body(), self.path.partition("?")[0]
        if path.startswith("/git/"):
            self.git(body)
        elif path == "/sse":
            self.events(b"data: answered %d\n\n" % number for number in range(3))
        elif path == "/v1/messages":
            message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "answered"}],
                       "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
            self.answer(json.dumps(message).encode())
        elif path == "/redirect":
            self.answer(b"", status=302, headers=[("Location", "https://cdn.example/echo")])
        elif self.headers.get("Host", "").startswith("s3."):
            self.answer(BUCKETS, "application/xml")
        elif path.startswith("/api/v3"):
            self.answer(json.dumps({"login": "answered"}).encode())
        else:
            told = {"answered": self.command, "path": self.path, "length": len(body), "headers": dict(self.headers)}
            self.answer(json.dumps(told).encode() + b"\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = any

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


behind = Server(("127.0.0.1", 9000), Handler)
own = Server(("93.184.215.14", 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
# In a thread of each connection, not where they are accepted.
own.socket = context.wrap_socket(own.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=own.serve_forever, daemon=True).start()
print("ready", flush=True)
behind.serve_forever()
