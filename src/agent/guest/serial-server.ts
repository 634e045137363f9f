// Serves GuestProtocol on the unit's serial port, to one owner after another: each begins with a mark, and from there on
// both sides speak frames. Owns sessions. Bytes are serial-port.ts, marks sync-splitter.ts, what calls do guest-agent.ts.
//
//   waiting ──mark──▶ serving ──mark──▶ serving (another)
//      ▲                 │
//      └── host gone ◀───┘
import { Duplex } from 'node:stream';
import { guestProtocol, type GuestProtocol } from '../../protocol/guest.ts';
import { RpcPeer } from '../../protocol/rpc-link.ts';
import type { EventOf, Handlers, Protocol } from '../../protocol/rpc.ts';
import { syncMark } from '../../protocol/serial-sync.ts';
import type { Logger } from '../../sys/log.ts';
import { SerialPort } from './serial-port.ts';
import { SyncSplitter } from './sync-splitter.ts';

/** The owner serves nothing to its unit. */
const ownerProtocol = { methods: {}, events: {} } satisfies Protocol;

type Peer = RpcPeer<GuestProtocol, typeof ownerProtocol>;

export interface SerialServerOptions {
  readonly path: string;
  readonly log: Logger;
  /** The port can not be used any more. */
  readonly onError: (error: Error) => void;
}

export class SerialServer {
  readonly #options: SerialServerOptions;
  #port: SerialPort | undefined;
  #session: { readonly stream: SessionStream; readonly peer: Peer } | undefined;

  constructor(options: SerialServerOptions) {
    this.#options = options;
  }

  /** To be called once; the port may appear later. */
  listen(handlers: Handlers<GuestProtocol>): void {
    const { path, onError } = this.#options;
    const splitter = new SyncSplitter({
      onBytes: (bytes) => this.#session?.stream.push(bytes),
      onMark: (n) => this.#begin(n, port, handlers),
    });
    const port = new SerialPort(path, {
      onData: (chunk) => splitter.push(chunk),
      onHostGone: () => this.#end(),
      onError,
    });
    this.#port = port;
    // An owner that still speaks to an agent which is gone sees by it that the stream begins anew.
    port.write(syncMark(0), () => {});
  }

  /** Told to the owner if there is one; it asks for the state of things when it comes. */
  emit<E extends EventOf<GuestProtocol>>(event: E): void {
    this.#session?.peer.emit(event.event, event.data);
  }

  close(): void {
    this.#end();
    this.#port?.close();
  }

  #begin(n: number, port: SerialPort, handlers: Handlers<GuestProtocol>): void {
    this.#end();
    const { log } = this.#options;
    port.write(syncMark(n), () => {});
    const stream = new SessionStream(port);
    const peer: Peer = new RpcPeer(stream, {
      local: guestProtocol,
      handlers,
      remote: ownerProtocol,
      onClose: () => {
        if (this.#session?.peer === peer) this.#session = undefined;
      },
      onDefect: (error, context) =>
        log.error({ err: error, context }, 'a call failed in a way that was not foreseen'),
    });
    this.#session = { stream, peer };
  }

  #end(): void {
    const session = this.#session;
    this.#session = undefined;
    if (session === undefined) return;
    session.stream.destroy();
    // Half a frame of it may have been written: the next owner's mark is answered by one, and what is before is dropped.
    this.#port?.discard();
  }
}

/** What one owner says and hears; it ends, the port stays. */
class SessionStream extends Duplex {
  readonly #port: SerialPort;

  constructor(port: SerialPort) {
    super();
    this.#port = port;
  }

  /** Bytes are pushed as they come: frames are consumed at once. */
  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#port.write(chunk, done);
  }
}
