// The ports, held by the supervisor: it listens, and gateways that inherit the sockets accept. So nobody is refused while a
// gateway is replaced or has crashed, and one that is taken is said before anything is started.
import { lookup } from 'node:dns/promises';
import { closeSync } from 'node:fs';
import { isIP } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { BellowsError, messageOf } from '../base/errors.ts';
import { listenAtPort, listenBeside } from '../sys/port-socket.ts';

/** What leaves stops listening at once; a busy machine lets it run within this. */
const freeMs = 5_000;
const pollMs = 10;

/**
 * Returns the listening sockets' descriptors. @param count among how many sockets clients are divided
 * @throws BellowsError with what to do when the port is taken or not allowed
 */
export async function holdPort(host: string, port: number, count = 1): Promise<number[]> {
  try {
    return listenAtPort(await addressOf(host), port, count);
  } catch (thrown) {
    throw refusal(host, port, thrown);
  }
}

/**
 * The sockets that there are already at a port of ours, made as many as are wanted. Too many are closed: nobody would accept
 * who comes to them. @throws BellowsError as above
 */
export async function holdMore(
  sockets: readonly number[],
  host: string,
  port: number,
  count: number,
): Promise<number[]> {
  for (const fd of sockets.slice(count)) closeSync(fd);
  if (sockets.length >= count) return sockets.slice(0, count);
  try {
    return listenBeside(sockets, await addressOf(host), port, count);
  } catch (thrown) {
    throw refusal(host, port, thrown);
  }
}

async function addressOf(host: string): Promise<string> {
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}

/** The same where a process that accepts there is just ending. */
export async function holdWhenFree(host: string, port: number, count: number): Promise<number[]> {
  const until = performance.now() + freeMs;
  for (;;) {
    try {
      return await holdPort(host, port, count);
    } catch (thrown) {
      const isTaken = thrown instanceof BellowsError && thrown.code === 'Conflict';
      if (!isTaken || performance.now() > until) throw thrown;
    }
    await pause(pollMs);
  }
}

/** Whether it could be held. @throws BellowsError as above */
export async function checkPort(host: string, port: number): Promise<void> {
  for (const fd of await holdPort(host, port)) closeSync(fd);
}

function refusal(host: string, port: number, error: unknown): BellowsError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return new BellowsError(
        'Conflict',
        `Port ${port} of ${host} is in use by another program.`,
        `Choose another, e.g. bellows up --port ${port === 65_535 ? 8080 : port + 1}, or stop that program.`,
      );
    case 'EACCES':
      return new BellowsError(
        'Forbidden',
        `This user may not listen on port ${port}: ports below 1024 are root's.`,
        'Choose one from 1024 on: bellows up --port 8080',
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new BellowsError(
        'BadRequest',
        `${host} is no address of this machine.`,
        'Leave --host away for this machine alone, or give 0.0.0.0 for all its addresses.',
      );
    default:
      return new BellowsError(
        'Unavailable',
        `Nothing can listen on ${host}, port ${port}: ${messageOf(error)}.`,
        'Choose another port with --port N.',
        { cause: error },
      );
  }
}
