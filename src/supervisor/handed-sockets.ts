// The sockets that gateways of an earlier supervisor accept from, asked of them: they and the next ones then accept from the same,
// and nobody is refused between. Owns the asking. What is done with them is clear-the-way.ts's.
import { once } from 'node:events';
import { closeSync, fstatSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import type { ListeningPort } from '../gateway/ports-door.ts';
import { receiveFd, socketFd } from '../sys/fd-passing.ts';
import type { Layout } from '../sys/layout.ts';
import type { ProcessIdentity } from '../sys/process.ts';

/** It answers in a millisecond, on a busy machine later; one that hangs is ended instead. */
const answerMs = 2_000;
const pollMs = 5;

const described = z.object({ port: z.number().int() });

export interface Handed {
  /** By port, each once: gateways that replace each other accept from the same. */
  readonly sockets: ReadonlyMap<number, number[]>;
  /** Who accepts from them. */
  readonly by: readonly ProcessIdentity[];
}

/** @param gateways in the order of their places */
export async function handedBy(
  layout: Pick<Layout, 'gatewayPortsSocket'>,
  gateways: readonly ProcessIdentity[],
): Promise<Handed> {
  const sockets = new Map<number, number[]>();
  const known = new Set<number>();
  const by: ProcessIdentity[] = [];
  for (const identity of gateways) {
    const handed = await askFor(layout.gatewayPortsSocket(identity.pid));
    if (handed.length > 0) by.push(identity);
    for (const { port, fd } of handed) {
      const { ino } = fstatSync(fd);
      if (known.has(ino)) closeSync(fd);
      else sockets.set(port, [...(sockets.get(port) ?? []), fd]);
      known.add(ino);
    }
  }
  return { sockets, by };
}

/** Of one that leaves, hangs, or knows nothing of this: none. */
async function askFor(path: string): Promise<ListeningPort[]> {
  const untilMs = performance.now() + answerMs;
  // Not read by Node: see src/sys/fd-passing.ts.
  const door = connect(path).pause();
  const handed: ListeningPort[] = [];
  try {
    await once(door, 'connect', { signal: AbortSignal.timeout(answerMs) });
    while (performance.now() < untilMs) {
      const received = receiveFd(socketFd(door));
      if (received === 'closed') break;
      if (received === 'again') await pause(pollMs);
      else {
        const { port } = described.parse(JSON.parse(received.bytes.toString('utf8')));
        handed.push({ port, fd: received.fd });
      }
    }
  } catch {
    // What it has handed over counts.
  } finally {
    door.on('error', () => undefined).destroy();
  }
  return handed;
}
