// A caller whose link comes back by itself: connects to a Unix socket, and again whenever the link ends.
// Calls made while there is no link wait for one until their time is up. Owns connecting; RpcPeer owns the calls.
import { connect, type Socket } from 'node:net';
import { BellowsError } from '../base/errors.ts';
import { RpcPeer, type RpcPeerOptions } from './rpc-link.ts';
import type { Caller, Params, Protocol, ResultOf } from './rpc.ts';

/** First pause before connecting again, and the longest: a process that was killed is back within a few 100 ms. */
const retryMs = { first: 10, longest: 200 } as const;
/** How long a call waits for a link when it sets no time of its own. */
const defaultWaitMs = 10_000;

export interface RpcClientOptions<Local extends Protocol, Remote extends Protocol> extends Omit<
  RpcPeerOptions<Local, Remote>,
  'onClose'
> {
  readonly socketPath: string;
  /** Runs on every new socket before there are frames, where the other end must find their beginning. When it throws, the socket is dropped. */
  readonly synchronise?: (socket: Socket) => Promise<void>;
  /** Runs on every new link before waiting calls go out: the place for `hello`. When it throws, the link is dropped. */
  readonly onConnect: (peer: RpcPeer<Local, Remote>) => Promise<void>;
  readonly onDisconnect?: () => void;
}

/** A call that waits for a link. */
interface Waiter<Peer> {
  readonly take: (peer: Peer) => void;
  readonly fail: (error: BellowsError) => void;
}

export class RpcClient<Local extends Protocol, Remote extends Protocol> implements Caller<Remote> {
  readonly #options: RpcClientOptions<Local, Remote>;
  /** The link that calls go over: connected, and `onConnect` has said yes. */
  #peer: RpcPeer<Local, Remote> | undefined;
  /** The link that is being made, or `#peer`. */
  #newest: RpcPeer<Local, Remote> | undefined;
  /** Connected, and not synchronised yet. */
  #unsynchronised: Socket | undefined;
  #waiting: Waiter<RpcPeer<Local, Remote>>[] = [];
  #pauseMs: number = retryMs.first;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RpcClientOptions<Local, Remote>) {
    this.#options = options;
    this.#connect();
  }

  get connected(): boolean {
    return this.#peer !== undefined;
  }

  /** The present link, for events; undefined while there is none. */
  get peer(): RpcPeer<Local, Remote> | undefined {
    return this.#peer;
  }

  async call<M extends keyof Remote['methods'] & string>(
    name: M,
    params: Params<Remote['methods'][M]>,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<ResultOf<Remote['methods'][M]>> {
    const peer = this.#peer ?? (await this.#nextPeer(options.timeoutMs ?? defaultWaitMs));
    return peer.call(name, params, options);
  }

  /** Ends the link and every call that waits for one; later calls fail with Unavailable. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const waiter of this.#waiting.splice(0)) waiter.fail(this.#closedError());
    const socket = this.#unsynchronised;
    this.#unsynchronised = undefined;
    socket?.destroy();
    if (this.#peer === undefined) this.#newest?.destroy();
    else this.#peer.close();
    this.#peer = undefined;
  }

  /** Drops the present link and makes another: for a stream whose other end has changed without its ending. */
  renew(): void {
    this.#unsynchronised?.destroy();
    this.#newest?.destroy();
  }

  #closedError(): BellowsError {
    return new BellowsError(
      'Unavailable',
      `The link to ${this.#options.socketPath} was closed on this side.`,
    );
  }

  #nextPeer(timeoutMs: number): Promise<RpcPeer<Local, Remote>> {
    if (this.#closed) return Promise.reject(this.#closedError());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        reject(new BellowsError('Unavailable', `Nothing answers at ${this.#options.socketPath}.`));
      }, timeoutMs);
      const waiter: Waiter<RpcPeer<Local, Remote>> = {
        take: (peer) => {
          clearTimeout(timer);
          resolve(peer);
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiting.push(waiter);
    });
  }

  #connect(): void {
    if (this.#closed) return;
    const socket = connect(this.#options.socketPath);
    const { synchronise } = this.#options;
    if (synchronise === undefined) {
      const peer = this.#peerOver(socket);
      socket.once('connect', () => this.#greet(peer));
      return;
    }
    // Not a link yet, but to be ended like one.
    this.#unsynchronised = socket;
    const failed = (): void => {
      if (this.#unsynchronised !== socket) return;
      this.#unsynchronised = undefined;
      socket.destroy();
      this.#connectLater();
    };
    socket.once('error', failed).once('close', failed);
    socket.once('connect', () => {
      synchronise(socket).then(() => {
        if (this.#unsynchronised !== socket) return;
        this.#unsynchronised = undefined;
        socket.off('error', failed).off('close', failed);
        this.#greet(this.#peerOver(socket));
      }, failed);
    });
  }

  #peerOver(socket: Socket): RpcPeer<Local, Remote> {
    const peer = new RpcPeer<Local, Remote>(socket, {
      ...this.#options,
      onClose: () => this.#disconnected(peer),
    });
    this.#newest = peer;
    return peer;
  }

  #greet(peer: RpcPeer<Local, Remote>): void {
    this.#options.onConnect(peer).then(
      () => {
        if (peer.closed || this.#closed) return;
        this.#peer = peer;
        this.#pauseMs = retryMs.first;
        for (const waiter of this.#waiting.splice(0)) waiter.take(peer);
      },
      (thrown: unknown) => {
        this.#options.onDefect(thrown, 'hello');
        peer.destroy();
      },
    );
  }

  #disconnected(peer: RpcPeer<Local, Remote>): void {
    if (this.#peer === peer) {
      this.#peer = undefined;
      this.#options.onDisconnect?.();
    }
    this.#connectLater();
  }

  #connectLater(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => this.#connect(), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, retryMs.longest);
  }
}
