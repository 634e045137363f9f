// The unit's door: a TCP server that lets whoever has the unit's token through to what listens inside. Owns the first line
// of each connection and copying bytes; half-closed stays half-closed, and who reads slowly slows the other side down.
// Unpacking code is code-store.ts. Who may call an instance is decided by whoever has the token.
//
//   line ──token, target──▶ relay (until both sides have ended) | code (until unpacked) | refused: an error line, closed
import { createHash, timingSafeEqual } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { BellowsError, messageOf } from '../../base/errors.ts';
import { doorLineBytes, doorRequest, type DoorAnswer, type DoorRequest } from '../../protocol/door.ts';
import { instanceSockets } from '../../protocol/instance.ts';
import type { Endpoint } from '../../protocol/agent.ts';
import type { Logger } from '../../sys/log.ts';
import type { CodeStore } from './code-store.ts';
import { relay } from './relay.ts';

/** The other side is a program of ours on the same machine; an emulated guest under load may be slow to read it. */
const lineTimeoutMs = 30_000;
/** Connections whose line is awaited. Instances can connect too, and must not use up the agent's descriptors. */
const maxUnopened = 256;
const endOfLine = 0x0a;

export interface DoorOptions {
  readonly port: number;
  readonly token: string;
  /** Where an instance listens; undefined when there is none of that id. */
  readonly endpointOf: (instance: DoorInstance) => Endpoint | undefined;
  readonly code: Pick<CodeStore, 'receive'>;
  readonly log: Logger;
}
type Target = DoorRequest['to'];
type DoorInstance = Extract<Target, { kind: 'port' }>['instance'];

export class Door {
  readonly #options: DoorOptions;
  readonly #tokenHash: Buffer;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #unopened = 0;

  private constructor(options: DoorOptions) {
    this.#options = options;
    this.#tokenHash = hashOf(options.token);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) =>
      this.#accept(socket),
    );
  }

  /** @throws the system error when the port is taken */
  static async open(options: DoorOptions): Promise<Door> {
    const door = new Door(options);
    await new Promise<void>((resolve, reject) => {
      door.#server.once('error', reject);
      door.#server.listen(options.port, '0.0.0.0', resolve);
    });
    return door;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : this.#options.port;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // Seen where bytes are copied, too; before that nobody waits for them.
    socket.on('error', () => socket.destroy());
    if (this.#unopened >= maxUnopened) return void socket.destroy();
    this.#unopened += 1;
    readLine(socket)
      .finally(() => (this.#unopened -= 1))
      .then((line) => this.#open(socket, line))
      .catch((thrown: unknown) => {
        if (!(thrown instanceof BellowsError))
          this.#options.log.error({ err: thrown }, 'the door failed in a way that was not foreseen');
        answer(socket, { error: messageOf(thrown) });
        socket.end();
        // Whatever else was sent to a door that stays shut.
        socket.resume();
      });
  }

  async #open(socket: Socket, line: string): Promise<void> {
    const request = this.#parse(line);
    switch (request.to.kind) {
      case 'socket':
      case 'port': {
        const target = await connected(this.#address(request.to));
        answer(socket, {});
        return relay(socket, target);
      }
      case 'code': {
        // Checked before anything is accepted, so that a sender is told at once.
        const { tenant, sha256 } = request.to;
        const receive = this.#options.code.receive(tenant, sha256);
        answer(socket, {});
        await receive(socket);
        answer(socket, {});
        socket.end();
        return;
      }
    }
  }

  #parse(line: string): DoorRequest {
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch {
      throw new BellowsError('BadRequest', 'The line is not JSON.');
    }
    const parsed = doorRequest.safeParse(json);
    // Whoever has no token is told no more than that.
    const token = (json as { token?: unknown } | null)?.token;
    if (typeof token !== 'string' || !timingSafeEqual(hashOf(token), this.#tokenHash))
      throw new BellowsError('Unauthorized', 'This token does not open the door.');
    if (!parsed.success) throw new BellowsError('BadRequest', 'The line names nothing that can be reached.');
    return parsed.data;
  }

  #address(to: Exclude<Target, { kind: 'code' }>): { path: string } | { host: string; port: number } {
    const endpoint = this.#options.endpointOf(to.instance);
    if (endpoint === undefined)
      throw new BellowsError('NotFound', `There is no instance ${to.instance} in this unit.`);
    if (to.kind === 'socket') return { path: join(endpoint.runDirectory, instanceSockets[to.socket]) };
    if (endpoint.port === null)
      throw new BellowsError('NotFound', `The instance ${to.instance} listens on no port.`);
    return { host: '127.0.0.1', port: endpoint.port };
  }
}

/** Hashes are of one length, so that a comparison tells nothing of the token's. */
const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();

function answer(socket: Socket, message: DoorAnswer): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/** The first line without its end; what came after it is in the socket again. @throws BellowsError BadRequest */
function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0);
    const timer = setTimeout(() => fail('No line came in time.'), lineTimeoutMs);
    const settle = (): void => {
      clearTimeout(timer);
      socket.pause();
      socket.off('data', onData).off('end', onEnd).off('close', onEnd);
    };
    const fail = (why: string): void => {
      settle();
      reject(new BellowsError('BadRequest', why));
    };
    const onEnd = (): void => fail('The connection ended before its line did.');
    const onData = (chunk: Buffer): void => {
      read = Buffer.concat([read, chunk]);
      const end = read.indexOf(endOfLine);
      if (end < 0 ? read.length >= doorLineBytes : end >= doorLineBytes)
        return fail(`The line is longer than ${doorLineBytes} bytes.`);
      if (end < 0) return;
      settle();
      if (end + 1 < read.length) socket.unshift(read.subarray(end + 1));
      resolve(read.subarray(0, end).toString());
    };
    socket.on('data', onData).on('end', onEnd).on('close', onEnd);
    socket.resume();
  });
}

/** @throws BellowsError Unavailable when nothing listens there */
function connected(address: { path: string } | { host: string; port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const target = connect({ ...address, allowHalfOpen: true, noDelay: true });
    const onError = (error: Error): void =>
      reject(new BellowsError('Unavailable', `Nothing answers there: ${error.message}.`));
    target.once('error', onError);
    target.once('connect', () => {
      target.off('error', onError);
      resolve(target);
    });
  });
}
