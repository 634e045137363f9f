// The app of the gateway bench: the least that a Node server can do over HTTP, and an echo over WebSockets. The same file runs
// bare, without anything in front of it.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const body = '{"ok":true}';
const server = createServer((_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on('error', () => undefined);
});
server.listen(Number(process.env.PORT), '127.0.0.1', 4_096);
