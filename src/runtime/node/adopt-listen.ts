// Takes an app's listening over: the server that would listen on TCP gets its connections from Bellows instead.
// Owns the patch of net.Server.prototype.listen and giving a connection to a server. Does not own where connections
// come from (app-host.ts, handover.ts). Other listens, Unix sockets and TLS servers stay real.
import { createServer, Server, type Socket } from 'node:net';
import process from 'node:process';
import type { TakeHandle } from './cluster-primary.ts';

/** What the app was told that it listens on. */
interface PretendedAddress {
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly port: number;
}

/** Node's private fields that a server and its connections share; they keep close() and getConnections() true. */
interface ServerInternals {
  _handle: PretendedHandle | null;
  _connections: number;
  readonly noDelay?: boolean;
  readonly keepAlive?: boolean;
  readonly keepAliveInitialDelay?: number;
  readonly pauseOnConnect?: boolean;
  readonly allowHalfOpen?: boolean;
}
interface SocketInternals {
  server: Server | null;
  _server: (Server & ServerInternals) | null;
}

/** Stands where Node keeps a server's handle, so that address(), listening, close() and ref() work as they are. */
interface PretendedHandle {
  close(callback?: () => void): void;
  ref(): void;
  unref(): void;
  hasRef(): boolean;
  getsockname(out: Partial<PretendedAddress>): number;
  /** Set by the primary of `cluster`, which then takes the handle from its server and asks it for connections. */
  onconnection: TakeHandle | undefined;
}

interface Wanted {
  readonly port: number;
  readonly host: string;
}

export interface Adoption {
  /** The server that connections are for; undefined while the app does not listen. */
  readonly server: Server | undefined;
}

/** A port for an app that asks for any: nobody listens there, clients come through the gateway. */
const defaultPort = 8080;

export interface AdoptionEvents {
  /** A server listens: the first, one that asks for the preferred port and takes the first's place, one after that was closed. */
  readonly onListening: () => void;
  /** Whether the server is to keep the process alive, as a real handle would. */
  readonly onHold: (hold: boolean) => void;
  /** From now on connections are for the primary of `cluster`; undefined: it has closed. */
  readonly onPrimary: (take: TakeHandle | undefined) => void;
}

/** Patches `listen`. */
export function adoptListen(preferredPort: number | undefined, events: AdoptionEvents): Adoption {
  const state: { server: Server | undefined } = { server: undefined };
  let adoptedArguments: unknown[] = [];
  let matched = false;
  const { prototype } = Server;
  const listen = prototype.listen as (this: Server, ...args: unknown[]) => Server;

  prototype.listen = function (this: Server, ...args: unknown[]): Server {
    const wanted = matched || isTls(this) ? undefined : wantedTcp(args);
    if (wanted === undefined || this.listening) return listen.apply(this, args);
    const matches = preferredPort !== undefined && wanted.port === preferredPort;
    const former = state.server;
    if (former !== undefined) {
      if (!matches) return listen.apply(this, args);
      // The first was not the app's main server after all (metrics, say): it gets its real port.
      const behind = former;
      listen.apply(
        createServer((socket) => behind.emit('connection', socket)),
        withoutCallback(adoptedArguments),
      );
    }
    matched = matches;
    adoptedArguments = args;
    state.server = this;
    pretend(this, wanted, events, () => {
      if (state.server !== this) return;
      state.server = undefined;
      matched = false;
    });
    const callback = args.findLast((value) => typeof value === 'function') as (() => void) | undefined;
    if (callback !== undefined) this.once('listening', callback);
    process.nextTick(() => {
      if (!this.listening) return;
      this.emit('listening');
      events.onListening();
    });
    return this;
  } as typeof prototype.listen;
  return state;
}

function withoutCallback(args: readonly unknown[]): unknown[] {
  return args.filter((value) => typeof value !== 'function');
}

/** TLS is between the client and the app; the gateway has no plain bytes to hand over. */
function isTls(server: Server): boolean {
  return 'setSecureContext' in server;
}

/** Where a call of listen would listen on TCP; undefined for anything else: paths, descriptors, handles, wrong values. */
function wantedTcp(args: readonly unknown[]): Wanted | undefined {
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) {
    if ('path' in first || 'fd' in first || '_handle' in first || 'handle' in first || !('port' in first))
      return undefined;
    const { port, host } = first as { port: unknown; host?: unknown };
    return portOf(port, host);
  }
  if (first === undefined || first === null || typeof first === 'function') return portOf(0, undefined);
  return portOf(first, second);
}

function portOf(value: unknown, host: unknown): Wanted | undefined {
  const port =
    value === undefined || value === null
      ? 0
      : typeof value === 'number'
        ? value
        : typeof value === 'string' && /^\d+$/.test(value)
          ? Number(value)
          : -1;
  if (!Number.isInteger(port) || port < 0 || port > 65535) return undefined;
  return { port, host: typeof host === 'string' ? host : '::' };
}

function pretend(
  server: Server,
  wanted: Wanted,
  { onHold, onPrimary }: AdoptionEvents,
  onClosed: () => void,
): void {
  const host = wanted.host === 'localhost' ? '127.0.0.1' : wanted.host;
  const address: PretendedAddress = {
    address: host,
    family: host.includes(':') ? 'IPv6' : 'IPv4',
    port: wanted.port === 0 ? Number(process.env['PORT']) || defaultPort : wanted.port,
  };
  let hasRef = true;
  let primary: TakeHandle | undefined;
  const hold = (value: boolean): void => {
    hasRef = value;
    onHold(value);
  };
  hold(true);
  (server as Server & ServerInternals)._handle = {
    close: (callback) => {
      hold(false);
      if (primary !== undefined) onPrimary((primary = undefined));
      onClosed();
      if (callback !== undefined) process.nextTick(callback);
    },
    ref: () => hold(true),
    unref: () => hold(false),
    hasRef: () => hasRef,
    getsockname: (out) => {
      Object.assign(out, address);
      return 0;
    },
    get onconnection() {
      return primary;
    },
    set onconnection(take) {
      primary = take;
      onPrimary(take);
    },
  };
}

/** Gives a connected socket to a server as if it had accepted it. `early`: bytes that were read from it already. */
export function giveConnection(target: Server, socket: Socket, early?: Buffer): void {
  const server = target as Server & ServerInternals;
  const internals = socket as Socket & SocketInternals;
  if (internals._server !== null && internals._server !== undefined) internals._server._connections -= 1;
  server._connections += 1;
  internals.server = server;
  internals._server = server;
  socket.allowHalfOpen = server.allowHalfOpen ?? false;
  if (server.noDelay === true) socket.setNoDelay(true);
  if (server.keepAlive === true) socket.setKeepAlive(true, server.keepAliveInitialDelay);
  if (early !== undefined && early.length > 0) socket.unshift(early);
  if (server.pauseOnConnect === true) socket.pause();
  server.emit('connection', socket);
}
