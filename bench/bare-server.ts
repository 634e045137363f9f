// The peer of the invoke bench: the least that a Node HTTP server can do, answering the same few bytes.
import { createServer } from 'node:http';

const body = '{"ok":true}';
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
});
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'));
