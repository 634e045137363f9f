// A chat over WebSockets: everything that one says, all in the room hear, numbered by the server.
//
// What is sent to it (JSON)                         what it sends
//   {"type":"say","text","id"?,"room"?}               {"type":"message","sequence","room","from","text","id"} to all in the room
//   {"type":"join","room","name"?}                    {"type":"joined","room","name","people","sequence"} to the one
//   {"type":"ping","n"}                               {"type":"pong","n"} to the one
//                                                     {"type":"grant",…} to all, when what this app may use changes
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const page = await readFile(new URL('./index.html', import.meta.url));
/** As much as a person types in a message. */
const maxPayload = 16 * 1024;
const maxNameLength = 40;

let sequence = 0;
let guests = 0;
/** @type {Map<import('ws').WebSocket, {name: string, room: string}>} */
const people = new Map();

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://app');
  if (pathname === '/') {
    response
      .writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache' })
      .end(page);
  } else if (pathname === '/status') {
    const body = JSON.stringify({
      pid: process.pid,
      people: people.size,
      sequence,
      grant: readGrant() ?? null,
    });
    response.writeHead(200, { 'content-type': 'application/json' }).end(body);
  } else {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found\n');
  }
});

const sockets = new WebSocketServer({ server, maxPayload });
sockets.on('connection', (socket) => {
  guests += 1;
  const person = { name: `guest-${guests}`, room: 'lobby' };
  people.set(socket, person);
  send(socket, joined(person));
  const grant = readGrant();
  if (grant !== undefined) send(socket, { type: 'grant', ...grant });
  socket.on('message', (data, isBinary) => {
    if (!isBinary) hear(socket, person, data.toString());
  });
  socket.on('close', () => people.delete(socket));
  socket.on('error', () => socket.terminate());
});

function hear(socket, person, text) {
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    said = { type: 'say', text };
  }
  if (said === null || typeof said !== 'object') said = { type: 'say', text };
  switch (said.type) {
    case 'say':
      sequence += 1;
      broadcast(person.room, {
        type: 'message',
        sequence,
        room: person.room,
        from: person.name,
        text: String(said.text ?? ''),
        id: said.id ?? null,
      });
      return;
    case 'join':
      person.room = String(said.room ?? person.room).slice(0, maxNameLength);
      person.name = String(said.name ?? person.name).slice(0, maxNameLength);
      send(socket, joined(person));
      return;
    case 'ping':
      send(socket, { type: 'pong', n: said.n ?? null });
      return;
    default:
      send(socket, { type: 'error', message: 'Send {"type":"say","text":"…"}.' });
  }
}

function joined({ room, name }) {
  return { type: 'joined', room, name, people: people.size, sequence };
}

function broadcast(room, message) {
  const text = JSON.stringify(message);
  for (const [socket, person] of people) if (room === undefined || person.room === room) socket.send(text);
}

function send(socket, message) {
  socket.send(JSON.stringify(message));
}

/** What this app may use now, from the file that Bellows replaces at every change; undefined elsewhere. */
function readGrant() {
  const file = process.env.BELLOWS_GRANT_FILE;
  return file === undefined ? undefined : JSON.parse(readFileSync(file, 'utf8'));
}

// Told before and after every change: `phase` is 'changing', then 'current'.
process.on('bellows:grant', (grant) => broadcast(undefined, { type: 'grant', ...grant }));

process.on('SIGTERM', () => {
  for (const socket of people.keys()) socket.close(1001, 'The server is stopping.');
  server.close(() => process.exit(0));
});

server.listen(Number(process.env.PORT ?? 3000), () => console.log('chat listens'));
