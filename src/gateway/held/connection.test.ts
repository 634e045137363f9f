// What one held connection does to its socket: back-pressure, and what is taken in which state.
import { expect, test } from 'vitest';
import { heldBounds } from './bounds.ts';
import { HeldConnection, type ClientSocket } from './connection.ts';

function opened() {
  const did: string[] = [];
  const socket = {
    bufferedAmount: 0,
    isPaused: false as boolean,
    send: (data: string | Buffer) => void did.push(`send ${data.toString()}`),
    pause: () => {
      socket.isPaused = true;
    },
    resume: () => {
      socket.isPaused = false;
    },
    close: (code: number) => void did.push(`close ${code}`),
    movable: undefined,
    abandon: () => void did.push('abandon'),
    terminate: () => void did.push('terminate'),
  } satisfies ClientSocket;
  const owner = {
    nowMs: () => 1,
    changed: () => undefined,
    carried: () => undefined,
    disconnected: () => undefined,
  };
  const connection = new HeldConnection(owner, 'id', { sourceIp: '', userAgent: '' });
  connection.opened(socket);
  return { connection, socket, did };
}

test('a client whose messages wait is not read from until half of them are done', () => {
  const { connection, socket } = opened();
  for (let count = 1; count < heldBounds.pauseAtMessages; count += 1)
    connection.received(Buffer.from('x'), false);
  expect(socket.isPaused).toBe(false);
  connection.received(Buffer.from('x'), false);
  expect(socket.isPaused).toBe(true);
  for (let count = 1; count < heldBounds.pauseAtMessages / 2; count += 1) connection.dropFirst();
  expect(socket.isPaused).toBe(true);
  connection.dropFirst();
  expect(socket.isPaused).toBe(false);
});

test('few large messages count as many small ones, text and bytes by their own length', () => {
  const { connection, socket } = opened();
  connection.received(Buffer.alloc(heldBounds.pauseAtBytes / 2, 'ä'), false);
  expect(socket.isPaused).toBe(false);
  connection.received(Buffer.alloc(heldBounds.pauseAtBytes / 2), true);
  expect(socket.isPaused).toBe(true);
  connection.dropFirst();
  expect(socket.isPaused).toBe(false);
  connection.dropFirst();
  expect(connection.waitingBytes).toBe(0);
});

test('nothing is sent to a client that is closing or has left too much unread', () => {
  const { connection, socket, did } = opened();
  socket.bufferedAmount = heldBounds.mostUnsentBytes + 1;
  expect(connection.send('a')).toBe('full');
  socket.bufferedAmount = 0;
  expect(connection.send('b')).toBe('sent');
  connection.close(1000, '');
  expect(connection.send('c')).toBe('gone');
  expect(did).toEqual(['send b', 'close 1000']);
});
