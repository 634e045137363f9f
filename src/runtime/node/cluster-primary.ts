// Gives connections to the primary process of Node's `cluster`, which wants bare handles that it passes on to its workers.
// Owns how a connection becomes such a handle. Does not own noticing that there is a primary (adopt-listen.ts).
import { Socket, type Server } from 'node:net';
import { socketPair } from '../../sys/socket-pair.ts';

/** What the primary sets on the handle of the server that it makes for its workers: Node's own signature. */
export type TakeHandle = (status: number, handle: unknown) => void;

interface HasHandle {
  _handle: { onconnection: TakeHandle } | null;
}

/** What this server accepts goes to the primary; `undefined`: to the server again. */
export class AcceptedHandles {
  readonly #server: HasHandle;
  #own: TakeHandle | undefined;

  constructor(server: Server) {
    this.#server = server as unknown as HasHandle;
  }

  giveTo(take: TakeHandle | undefined): void {
    const handle = this.#server._handle;
    if (handle === null) return;
    this.#own ??= handle.onconnection;
    handle.onconnection = take ?? this.#own;
  }
}

/**
 * A connection some bytes of which were read already: a handle can not be told of them, so this process stands between the
 * client and the worker.
 * @throws SystemError without descriptors
 */
export function giveThrough(take: TakeHandle, client: Socket, early: Buffer | undefined): void {
  const [mine, theirs] = socketPair();
  const inner = new Socket({ fd: mine, readable: true, writable: true, allowHalfOpen: true });
  if (early !== undefined && early.length > 0) inner.write(early);
  client.on('error', () => inner.destroy());
  inner.on('error', () => client.destroy());
  client.on('close', () => inner.destroy());
  client.pipe(inner);
  inner.pipe(client);
  take(0, bareHandle(theirs));
}

/** As Node itself makes one of a descriptor; nothing is read from it here. */
function bareHandle(fd: number): unknown {
  const socket = new Socket({ fd, readable: false, writable: false }) as Socket & { _handle: unknown };
  const { _handle: handle } = socket;
  socket._handle = null;
  return handle;
}
