"""A web server over TLS: certificate, key, and a file that each request is written to, a line of JSON each. It tells every request
again, in ways that its path asks for, and ends with whoever started it."""
import base64, gzip, http.server, json, ssl, sys, threading, zlib

certificate, key, log = sys.argv[1:]
lock = threading.Lock()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self):
        length = int(self.headers.get('Content-Length') or 0)
        body = self.rfile.read(length)
        asked = {'method': self.command, 'path': self.path, 'headers': dict(self.headers.items()), 'body': body.decode('latin-1')}
        with lock, open(log, 'a') as file:
            file.write(json.dumps(asked) + '\n')
        told = self.headers.get('Authorization') or self.headers.get('X-Key') or ''
        value = told.split(' ')[-1]
        said = json.dumps(asked).encode()
        if self.path.startswith('/basic'):
            said = base64.b64encode(b'user:' + value.encode() + b':more')
        elif self.path.startswith('/escaped'):
            said = json.dumps({'value': value}).replace('/', '\\/').encode()
        self.send_response(200)
        self.send_header('X-Told', value)
        if self.path.startswith('/gzip'):
            said = gzip.compress(said)
            self.send_header('Content-Encoding', 'gzip')
        elif self.path.startswith('/deflate'):
            said = zlib.compress(said)
            self.send_header('Content-Encoding', 'deflate')
        elif self.path.startswith('/unknown'):
            self.send_header('Content-Encoding', 'secret-code')
        if self.path.startswith('/pieces'):
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for n in range(len(said)):
                self.wfile.write(b'1\r\n' + said[n:n + 1] + b'\r\n')
            self.wfile.write(b'0\r\n\r\n')
        else:
            self.send_header('Content-Length', str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *words):
        pass

server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
