// A server of HTTP/2 at port 8443, which answers gRPC calls with what they were told, and others with what was asked. Words: its
// address, certificate, key.
const http2 = require('http2'), fs = require('fs');
const [address, cert, key] = process.argv.slice(2);
const server = http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
server.on('stream', (stream, headers) => {
  if (headers['content-type'] !== 'application/grpc') {
    stream.respond({ ':status': 200 });
    return stream.end(`${headers[':method']} ${headers[':authority']} ${headers[':path']}\n`);
  }
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' }));
  // Each message is sent back when it comes: a call may go on in both directions.
  stream.on('data', (piece) => stream.write(piece));
  stream.on('end', () => stream.end());
});
server.listen(8443, address, () => console.log('up'));
