// Runs an app: a script that listens for connections for as long as it lives.
// Owns its start, the connections it is given, and its orderly end. Does not own the patch of listen (adopt-listen.ts).
import { createServer, type Socket } from 'node:net';
import { runMain } from 'node:module';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { frameType, instanceSockets, type BindRequest } from '../../protocol/instance.ts';
import { adoptListen, giveConnection, type Adoption } from './adopt-listen.ts';
import { AcceptedHandles, giveThrough, type TakeHandle } from './cluster-primary.ts';
import { ConnectionCounter } from './connection-counter.ts';
import { HandoverReceiver } from './handover.ts';
import { listenPrivately, type Link, type Links } from './link.ts';
import { Pacer } from './pacer.ts';
import { emitOnProcess, exitProcess, monotonicMs, startTimer, stringifyJson } from './primordials.ts';

/** An app that has not listened by now is taken for one that does other work; it may still listen later. */
const boundAtLatestMs = 1000;
/** How often to look whether the connections have ended while stopping. */
const stopCheckMs = 20;
/** What a server behind a proxy on the same machine sees. */
const gatewayAddress = { remoteAddress: '127.0.0.1', remoteFamily: 'IPv4', remotePort: 0 } as const;

/** Requests come over a Unix socket, which has no address, and packages that limit or log by address fail without one.
 * The client's stands in X-Forwarded-For; a socket that is handed over has the client's itself. */
function comesFromHere(socket: Socket): void {
  for (const [name, value] of Object.entries(gatewayAddress))
    Object.defineProperty(socket, name, { value, configurable: true });
}

export class AppHost {
  readonly #links: Links;
  readonly #handover: HandoverReceiver;
  readonly #counter: ConnectionCounter;
  readonly #pacer: Pacer;
  readonly #direct = new Set<Socket>();
  readonly #requests: AcceptedHandles;
  #adoption: Adoption | undefined;
  /** Set while the app is several processes, and this one the primary of `cluster`. */
  #primary: TakeHandle | undefined;
  #listening = false;

  /** Call while the process may still make sockets that only root can connect to. */
  constructor(runDirectory: string, links: Links, bytesPerSecond: number) {
    this.#links = links;
    this.#pacer = new Pacer(bytesPerSecond);
    this.#counter = new ConnectionCounter(() => this.#tellCounts());
    this.#handover = new HandoverReceiver(
      () => this.#allowHalfOpen(),
      (socket, early) => this.#onDirect(socket, early),
      () => this.#counter.lost(),
    );
    const requests = createServer({ allowHalfOpen: true }, (socket) => {
      comesFromHere(socket);
      this.#give(socket, undefined);
    });
    listenPrivately(requests, join(runDirectory, instanceSockets.http));
    listenPrivately(this.#handover.server, join(runDirectory, instanceSockets.handover));
    // Whether the process lives on is the app's matter, as if it had never been wrapped.
    requests.unref();
    this.#requests = new AcceptedHandles(requests);
    this.#handover.server.unref();
  }

  /** Runs the script as Node's main module. Settles when it listens, or has run for a while without. */
  start(request: BindRequest): Promise<void> {
    const [script = '', ...args] = request.argv;
    process.argv = [process.execPath, resolve(request.taskDirectory, script), ...args];
    this.#links.holdLoop(false);
    return new Promise((started) => {
      this.#adoption = adoptListen(Number(request.env['PORT']) || undefined, {
        onListening: () => {
          this.#listening = true;
          started();
          this.#links.broadcast(frameType.listening, 0, '');
        },
        onHold: (hold) => this.#links.holdLoop(hold),
        onPrimary: (take) => {
          this.#primary = take;
          this.#requests.giveTo(take);
        },
      });
      startTimer(started, boundAtLatestMs).unref();
      runMain();
    });
  }

  onLink(link: Link): void {
    if (this.#listening) link.send(frameType.listening, 0, '');
    // In any case: a gateway that is new counts its tenant's connections before it lets another in.
    link.send(frameType.connections, 0, stringifyJson(this.#counter.counts));
  }

  /** Another grant: what its direct connections may send in a second, together. */
  setBandwidth(bytesPerSecond: number): void {
    this.#pacer.setBandwidth(bytesPerSecond);
  }

  handedOver(): void {
    this.#handover.announced();
  }

  /** A gateway's link is gone, its hand-over connection probably too. */
  onLinkClosed(): void {
    this.#handover.sweep();
  }

  /** A client's own socket. */
  #onDirect(socket: Socket, early: Buffer): void {
    this.#counter.add(socket);
    this.#pacer.add(socket);
    this.#direct.add(socket);
    socket.once('close', () => this.#direct.delete(socket));
    this.#give(socket, early);
  }

  /** Asks the app to end as a process manager would; without a listener for SIGTERM, ends what is open after `graceMs`. */
  stop(graceMs: number): void {
    const server = this.#adoption?.server;
    if (emitOnProcess('SIGTERM', 'SIGTERM', 15)) return;
    server?.close();
    if (server !== undefined && 'closeIdleConnections' in server)
      (server.closeIdleConnections as () => void)();
    const untilMs = monotonicMs() + graceMs;
    const look = (): void => {
      if (this.#direct.size === 0 || monotonicMs() >= untilMs) {
        for (const socket of this.#direct) socket.destroy();
        exitProcess(0);
      }
      startTimer(look, stopCheckMs);
    };
    startTimer(look, stopCheckMs);
  }

  #give(socket: Socket, early: Buffer | undefined): void {
    const server = this.#adoption?.server;
    if (this.#primary !== undefined) giveThrough(this.#primary, socket, early);
    else if (server === undefined || !server.listening) socket.destroy();
    else giveConnection(server, socket, early);
  }

  #allowHalfOpen(): boolean {
    if (this.#primary !== undefined) return true;
    return (this.#adoption?.server as { allowHalfOpen?: boolean } | undefined)?.allowHalfOpen ?? false;
  }

  #tellCounts(): void {
    this.#links.broadcast(frameType.connections, 0, stringifyJson(this.#counter.counts));
  }
}
