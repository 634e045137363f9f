// A connection to what listens inside a virtual machine, through that machine's door. Owns the first line each way; from
// then on the socket is as if it had been connected to the target itself.
import { connect, type Socket } from 'node:net';
import { BellowsError } from '../../base/errors.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import { doorAnswer, doorLineBytes, type DoorRequest } from '../../protocol/door.ts';

export type Door = NonNullable<Endpoint['door']>;

/** An emulated guest on a loaded machine was seen to take 16 s; one that hangs is noticed by its unit’s owner, after 45. */
const answerTimeoutMs = 30_000;
const endOfLine = 0x0a;

/**
 * Resolves when the target is connected; nothing that it sends is lost.
 * @throws BellowsError Unavailable when the door does not answer, or nothing listens behind it
 */
export function connectThroughDoor(door: Door, to: DoorRequest['to']): Promise<Socket> {
  const socket = connect({ host: door.host, port: door.port, allowHalfOpen: true, noDelay: true });
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  let read = Buffer.alloc(0);
  const timer = setTimeout(() => fail('it does not answer'), answerTimeoutMs);
  const settle = (): void => {
    clearTimeout(timer);
    socket.off('data', onData).off('error', onError).off('end', onEnd).off('close', onEnd);
  };
  const fail = (why: string): void => {
    settle();
    socket.on('error', () => undefined);
    socket.destroy();
    reject(new BellowsError('Unavailable', `The door of the virtual machine did not open: ${why}.`));
  };
  const onError = (error: Error): void => fail(error.message);
  const onEnd = (): void => fail('the connection ended');
  const onData = (chunk: Buffer): void => {
    read = Buffer.concat([read, chunk]);
    const end = read.indexOf(endOfLine);
    if (end < 0) {
      if (read.length > doorLineBytes) fail('its answer is too long');
      return;
    }
    const refusal = refusalIn(read.toString('utf8', 0, end));
    if (refusal !== undefined) {
      fail(refusal);
      return;
    }
    settle();
    // What comes next is for whoever takes the socket.
    socket.pause();
    if (end + 1 < read.length) socket.unshift(read.subarray(end + 1));
    resolve(socket);
  };
  socket.on('data', onData).on('error', onError).on('end', onEnd).on('close', onEnd);
  const request: DoorRequest = { token: door.token, to };
  socket.write(`${JSON.stringify(request)}\n`);
  return promise;
}

function refusalIn(line: string): string | undefined {
  try {
    return doorAnswer.parse(JSON.parse(line)).error;
  } catch {
    return 'its answer is none';
  }
}
