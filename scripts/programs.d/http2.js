// Node's own server, which speaks HTTP/2 and 1.1: certificate, key.
const http2 = require('http2'), fs = require('fs');
const server = http2.createSecureServer({ cert: fs.readFileSync(process.argv[2]), key: fs.readFileSync(process.argv[3]), allowHTTP1: true });
server.on('request', (request, response) => {
  let length = 0;
  request.on('data', (piece) => { length += piece.length; });
  request.on('end', () => response.end(`answered ${request.httpVersion} ${request.method} ${length}\n`));
});
server.listen(8444, '93.184.215.14', () => console.log('ready'));
