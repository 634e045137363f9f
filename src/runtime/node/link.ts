// The runtime's end of a frame connection: who is connected, sending, and cutting what arrives into frames.
// Owns the sockets of `s.sock`. Does not own what frames mean. src/sys/frame-link.ts is its like outside the
// sandbox; this one sends at once, survives user code's timers, and can step out of the event loop's way.
import { createServer, type Server, type Socket } from 'node:net';
import process from 'node:process';
import { encodeFrame, FrameDecoder, type Frame } from '../../base/frame.ts';
import { copiedReads, readAnew } from '../../sys/shared-reads.ts';

export class Link {
  readonly #socket: Socket;
  /** Invocations that came over it and are not answered. */
  unanswered = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get closed(): boolean {
    return this.#socket.destroyed;
  }

  /** Sends a frame at once. Nothing happens when the peer is gone. */
  send(type: number, id: number, payload: Uint8Array | string): void {
    this.sendEncoded(encodeFrame(type, id, payload));
  }

  sendEncoded(frame: Buffer): void {
    if (!this.closed) this.#socket.write(frame);
  }

  /** Calls back when the kernel has everything that was sent, or never will. */
  drained(callback: () => void): void {
    if (this.closed || this.#socket.writableLength === 0) callback();
    else this.#socket.write('', () => callback());
  }

  ref(): void {
    this.#socket.ref();
  }

  unref(): void {
    this.#socket.unref();
  }
}

export interface LinkHandlers {
  readonly onLink: (link: Link) => void;
  readonly onFrame: (frame: Frame, link: Link) => void;
  readonly onClose: (link: Link) => void;
}

/** Every open frame connection, and the server that takes new ones. */
export class Links {
  readonly server: Server;
  readonly #open = new Set<Link>();
  #holdsLoop = true;

  constructor(handlers: LinkHandlers) {
    this.server = createServer((accepted) => {
      const onRead = copiedReads((chunk) => {
        try {
          decoder.push(chunk);
        } catch {
          // The peer sent nonsense: the state of this stream is unknown, other links are not concerned.
          socket.destroy();
        }
      });
      const socket = readAnew(accepted, onRead);
      const link = new Link(socket);
      if (!this.#holdsLoop) link.unref();
      this.#open.add(link);
      const decoder = new FrameDecoder((frame) => handlers.onFrame(frame, link));
      // 'close' follows, and tells all there is to tell.
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#open.delete(link);
        handlers.onClose(link);
      });
      handlers.onLink(link);
    });
  }

  broadcast(type: number, id: number, payload: string): void {
    for (const link of this.#open) link.send(type, id, payload);
  }

  /** Whether these sockets keep the event loop alive; without, it can be seen to run empty of user code's work. */
  holdLoop(hold: boolean): void {
    if (hold === this.#holdsLoop) return;
    this.#holdsLoop = hold;
    for (const holder of [this.server, ...this.#open]) {
      if (hold) holder.ref();
      else holder.unref();
    }
  }
}

/** The last step of every `listen` in Node, which wrappers of servers rely on too, hence its name. */
interface InheritsSocket {
  _listen2?: (address: null, port: null, addressType: number, backlog: number, descriptor: number) => void;
}
/** As many as Node allows by itself. */
const backlog = 511;

/**
 * Takes connections of a listening socket that this process inherited. Not by `listen`, where it can be avoided: that loads
 * `cluster` and with it child processes and datagrams, 1 ms of a cold start and 160 KiB that functions do not need.
 */
export function listenInherited(server: Server, descriptor: number): void {
  const last = (server as InheritsSocket)._listen2;
  if (last === undefined) server.listen({ fd: descriptor });
  else last.call(server, null, null, -1, backlog, descriptor);
}

/** Listens on a socket that only root may connect to, or the user that Bellows runs as; from its first moment on. */
export function listenPrivately(server: Server, path: string): void {
  const former = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(former);
  }
}
