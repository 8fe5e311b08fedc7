"""A site, over TLS and in the clear. Words: its address, certificate, key, and a file that gets a line of JSON for each request.

/socket speaks WebSocket, /events sends the second event when somebody has asked for /go, /redirect leads to another host, /zen
and /user are GitHub's; everything else is answered with what was asked.
"""

import base64
import hashlib
import http.server
import json
import ssl
import sys
import threading

ADDRESS, CERTIFICATE, KEY, ASKED = sys.argv[1:]
GO = threading.Event()
LOCK = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, *headers, status=200):
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        text = body.decode() if len(body) < 4096 else ""
        told = {"method": self.command, "path": self.path, "headers": headers, "length": len(body), "body": text}
        with LOCK, open(ASKED, "a") as asked:
            asked.write(json.dumps(told) + "\n")
        if self.path == "/socket":
            return self.web_socket()
        if self.path == "/events":
            return self.events()
        if self.path == "/go":
            GO.set()
        if self.path == "/zen":
            return self.answer(b"Speak like a human.\n")
        if self.path == "/user" and headers.get("authorization") == "Bearer ghp_of_the_example":
            return self.answer(b'{"login": "ana"}')
        if self.path == "/redirect":
            return self.answer(b"", ("Location", "https://cdn.test/asset"), status=302)
        self.answer(json.dumps(told).encode() + b"\n", ("Content-Type", "application/json"))

    def events(self):
        GO.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in (b"data: first\n\n", b"data: second\n\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            GO.wait()
        self.wfile.write(b"0\r\n\r\n")

    def web_socket(self):
        """RFC 6455, as far as a short message goes: it is sent back as it came, unmasked."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        _, length = self.rfile.read(2)
        mask = self.rfile.read(4)
        text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length & 127)))
        self.wfile.write(bytes([0x81, len(text)]) + text)
        self.close_connection = True

    do_GET = do_POST = do_PUT = any

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        """Clients that do not trust it are what some tests are about."""


plain = Server((ADDRESS, 80), Handler)
opened = Server((ADDRESS, 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
opened.socket = context.wrap_socket(opened.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=plain.serve_forever, daemon=True).start()
print("up", flush=True)
opened.serve_forever()
