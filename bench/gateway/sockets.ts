// WebSockets by the thousand for the gateway bench: frames made once, answers counted by their bytes, so that the client is
// not what is measured. Knows the echo of app/server.mjs alone.
import { connect, type Socket } from 'node:net';
import { percentile } from '../figure.ts';

export interface Target {
  readonly port: number;
  readonly path: string;
}

const payload = Buffer.alloc(32, 'm');
/** Text, final, masked with zeros, which changes nothing. */
const message = Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
const answerBytes = 2 + payload.length;
/** Handshakes under way at once: fewer than any queue of connections holds. */
const atOnce = 64;

function open({ port, path }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let head = '';
    socket.once('error', reject);
    socket.write(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onData);
      if (head.startsWith('HTTP/1.1 101 ')) resolve(socket);
      else reject(new Error(`the upgrade was answered ${head.slice(0, 60)}`));
    };
    socket.on('data', onData);
  });
}

/** All of them open; how long that took. */
export async function openSockets(
  target: Target,
  count: number,
): Promise<{ readonly sockets: readonly Socket[]; readonly tookMs: number }> {
  const sockets: Socket[] = [];
  const begunMs = performance.now();
  let begun = 0;
  const worker = async (): Promise<void> => {
    while (begun < count) {
      begun += 1;
      sockets.push(await open(target));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return { sockets, tookMs: performance.now() - begunMs };
}

export async function closeSockets(sockets: readonly Socket[]): Promise<void> {
  const open = sockets.filter((socket) => !socket.closed);
  const closed = open.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  for (const socket of open) socket.destroy();
  await Promise.all(closed);
}

export interface Echoes {
  readonly perSecond: number;
  readonly p99Ms: number;
}

/** Each socket sends a message as soon as its last came back, for so long. */
export async function echo(sockets: readonly Socket[], forMs: number): Promise<Echoes> {
  const tookMs: number[] = [];
  const begunMs = performance.now();
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise<void>((resolve, reject) => {
          let bytes = 0;
          let sentMs = performance.now();
          const onData = (chunk: Buffer): void => {
            bytes += chunk.length;
            if (bytes < answerBytes) return;
            bytes -= answerBytes;
            const nowMs = performance.now();
            tookMs.push(nowMs - sentMs);
            sentMs = nowMs;
            if (nowMs - begunMs < forMs) socket.write(message);
            else {
              socket.off('data', onData).off('close', onClose);
              resolve();
            }
          };
          const onClose = (): void => reject(new Error('a WebSocket was closed while it was used'));
          socket.on('data', onData).once('close', onClose);
          socket.write(message);
        }),
    ),
  );
  const seconds = (performance.now() - begunMs) / 1000;
  return { perSecond: tookMs.length / seconds, p99Ms: percentile(tookMs, 0.99) };
}
