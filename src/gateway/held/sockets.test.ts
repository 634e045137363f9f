// One held connection's socket against a client of bare bytes: what is taken when, and how it ends.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { soon } from '../testing/held-chat.ts';
import { frame, opcode } from '../websocket/frame.ts';
import { heldBounds } from './bounds.ts';
import { HeldConnection } from './connection.ts';
import { HeldSocket } from './sockets.ts';

let server: Server;
let client: Socket;
let accepted: Socket;
let told: Buffer[];

beforeEach(async () => {
  server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const arrives = once(server, 'connection') as Promise<[Socket]>;
  client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  [accepted] = await arrives;
  told = [];
  client.on('data', (bytes: Buffer) => told.push(bytes)).on('error', () => undefined);
});
afterEach(() => {
  client.destroy();
  server.close();
});

function held() {
  let disconnected = 0;
  const owner = {
    nowMs: () => 1,
    changed: () => undefined,
    carried: () => undefined,
    disconnected: () => (disconnected += 1),
  };
  const connection = new HeldConnection(owner, 'id', { sourceIp: '', userAgent: '' });
  connection.opened(new HeldSocket(accepted, connection, undefined));
  return { connection, disconnected: () => disconnected };
}

/** A client's frame, with a mask that changes nothing. */
function sent(kind: number, payload: string | Buffer): Buffer {
  const whole = frame(kind, payload);
  whole[1]! |= 0x80;
  const headBytes = whole.length - Buffer.byteLength(payload);
  return Buffer.concat([whole.subarray(0, headBytes), Buffer.alloc(4), whole.subarray(headBytes)]);
}

test('what is read at once is taken as far as it may wait, and the rest in order as that is done', async () => {
  const { connection } = held();
  const count = 10 * heldBounds.pauseAtMessages;
  client.write(Buffer.concat(Array.from({ length: count }, (_, at) => sent(opcode.text, `${at}`))));
  await soon(() => connection.waiting.length).toBeGreaterThan(0);
  const order: string[] = [];
  while (order.length < count) {
    await soon(() => connection.waiting.length).toBeGreaterThan(0);
    expect(connection.waiting.length).toBeLessThanOrEqual(heldBounds.pauseAtMessages);
    order.push(connection.waiting[0]!.body);
    connection.dropFirst();
  }
  expect(order).toEqual(Array.from({ length: count }, (_, at) => `${at}`));
  expect(connection.socket?.isPaused).toBe(false);
});

test('a client that ended its side before the handshake was complete has left', async () => {
  client.end('GET');
  await once(accepted, 'readable');
  expect(accepted.read()).toEqual(Buffer.from('GET'));
  accepted.removeAllListeners('readable');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const { connection, disconnected } = held();
  await soon(() => connection.state.is).toBe('left');
  expect(connection.state).toMatchObject({ code: 1006 });
  expect(disconnected()).toBe(1);
});

test('who closes is answered its own code, and the connection ends after what was sent before', async () => {
  const { connection } = held();
  client.write(Buffer.concat([sent(opcode.text, 'last'), sent(opcode.close, Buffer.from([0x0f, 0xa0]))]));
  await once(client, 'end');
  expect(Buffer.concat(told)).toEqual(Buffer.from([0x88, 2, 0x0f, 0xa0]));
  client.end();
  await soon(() => connection.state.is).toBe('left');
  expect(connection.state).toMatchObject({ code: 4000 });
  expect(connection.waiting).toHaveLength(1);
});

test('what is no frame is answered with 1002, and nothing that follows is looked at', async () => {
  const { connection } = held();
  client.write(Buffer.concat([frame(opcode.text, 'not masked'), sent(opcode.text, 'late')]));
  await once(client, 'end');
  expect(Buffer.concat(told)).toEqual(Buffer.from([0x88, 2, 0x03, 0xea]));
  expect(connection.waiting).toEqual([]);
});
