// The one listening server: HTTP and upgrades on one port, with every bound on slow and hostile clients.
// A connection begins in the lane (lane/), and is node:http's from its first request on that is not plain.
// Owns the server and what it answers by itself. What requests mean is dispatch.ts.
import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ErrorRecord } from '../base/errors.ts';
import { endWithError, sendJson } from './answer.ts';
import { serverLimits } from './config.ts';
import type { ClientRequest, ClientResponse } from './client-exchange.ts';
import type { TrustedProxies } from './hop.ts';
import { IdleConnections } from './idle-connections.ts';
import { Lane, type LaneHandlers } from './lane/lane.ts';
import { openListening, type ListenAt } from './open-listening.ts';

export interface ListenHandlers {
  /** Plain requests, parsed by the lane, and what is told of its connections. */
  readonly onPlain: Omit<LaneHandlers, 'leave' | 'proxies'>;
  /** A connection leaves the lane. @param bytesUnused how many of the bytes read belong to what follows */
  readonly onLeavesLane: (socket: Socket, bytesUnused: number) => void;
  readonly onRequest: (request: ClientRequest, response: ClientResponse, expectsContinue: boolean) => void;
  /** Whether the request's upgrade is to be served; otherwise it is served as a plain request. */
  readonly wantsUpgrade: (request: IncomingMessage) => boolean;
  readonly onUpgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void;
}

export class Listener {
  readonly #server: Server;
  readonly lane: Lane;
  /** Connections that may bring another request. */
  #asking = 0;
  #leaving = false;
  readonly #byNode = new IdleConnections();

  constructor(handlers: ListenHandlers, proxies: TrustedProxies) {
    this.#server = createServer({
      headersTimeout: serverLimits.headersTimeoutMs,
      requestTimeout: serverLimits.requestTimeoutMs,
      keepAliveTimeout: serverLimits.keepAliveTimeoutMs,
      maxHeaderSize: serverLimits.maxHeaderBytes,
      connectionsCheckingInterval: serverLimits.checkingIntervalMs,
      // Answered here in words instead: Node's own refusal is empty.
      requireHostHeader: false,
      // Frames of a few bytes must not wait for more.
      noDelay: true,
      shouldUpgradeCallback: handlers.wantsUpgrade,
    });
    this.#server.on('request', (request, response) => {
      if (this.#leaving) response.shouldKeepAlive = false;
      if (hasOneHost(request)) handlers.onRequest(request, response, false);
      else refuse(response, 400, wrongHost);
    });
    this.#server.on('checkContinue', (request, response) => {
      if (this.#leaving) response.shouldKeepAlive = false;
      closeUnlessAsked(response);
      if (hasOneHost(request)) handlers.onRequest(request, response, true);
      else refuse(response, 400, wrongHost);
    });
    this.#server.on('checkExpectation', (_request, response) => refuse(response, 417, unknownExpectation));
    this.#server.on('connect', (_request, socket) => {
      socket.on('error', () => socket.destroy());
      endWithError(socket, 405, 'Method Not Allowed', noProxy);
    });
    this.#server.on('upgrade', (request, socket, head) => {
      // Without a listener an error of the connection would end the process.
      socket.on('error', () => socket.destroy());
      this.#asks(socket as Socket, false);
      if (hasOneHost(request)) handlers.onUpgrade(request, socket as Socket, head);
      else endWithError(socket, 400, 'Bad Request', wrongHost);
    });
    this.#server.on('clientError', answerClientError);
    // The server's own way of serving a connection waits until the lane has no use for it. So it is still the one that
    // listens, tracks and closes connections, and its time-outs begin where the lane's end.
    const serveByNode = this.#server.listeners('connection') as ((socket: Socket) => void)[];
    this.#server.removeAllListeners('connection');
    this.lane = new Lane({
      proxies,
      serve: handlers.onPlain.serve,
      carried: handlers.onPlain.carried,
      leave: (socket, bytesUnused) => {
        handlers.onLeavesLane(socket, bytesUnused);
        this.#byNode.add(socket);
        for (const serve of serveByNode) serve.call(this.#server, socket);
      },
    });
    this.#server.on('connection', (accepted) => this.#asks(this.lane.take(accepted), true));
  }

  /** Resolves with the port, which is the asked one unless that was 0. */
  listen(at: ListenAt): Promise<number> {
    return openListening(this.#server, at);
  }

  /** Serves a connection that was accepted, and maybe decrypted, elsewhere. */
  take(socket: Socket): void {
    this.#server.emit('connection', socket);
  }

  /** How many connections may bring another request: those that were upgraded do not. */
  get asking(): number {
    return this.#asking;
  }

  readonly #askedNoMore = (): void => {
    this.#asking -= 1;
  };

  #asks(socket: Socket, asks: boolean): void {
    if (asks) {
      this.#asking += 1;
      socket.once('close', this.#askedNoMore);
    } else {
      socket.off('close', this.#askedNoMore);
      this.#askedNoMore();
    }
  }

  /** Takes no new connection, ends the idle ones, and resolves when the others have ended. */
  stopAccepting(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.lane.stop();
      this.#server.closeIdleConnections();
    });
  }

  /**
   * Takes no new connection. The answer to its next request is the last of each that is there. To close one that idles could
   * meet that request on its way: so it has some seconds for it, after which nobody is likely to ask. Resolves when all have
   * ended, upgraded ones too.
   */
  leave(): Promise<void> {
    this.#leaving = true;
    this.lane.leave();
    // For who is answered now and was told that it may go on; then for who idles.
    this.#server.keepAliveTimeout = serverLimits.leavingKeepAliveMs;
    this.#byNode.shorten();
    return new Promise((resolve) => {
      // Not node:http's own, which ends what idles and stops its time-outs.
      NetServer.prototype.close.call(this.#server, () => resolve());
    });
  }

  closeAll(): void {
    this.lane.closeAll();
    this.#server.closeAllConnections();
  }
}

/** RFC 9112, 3.2: with two of them, those on the way could each believe another. HTTP/1.0 needs none. */
function hasOneHost({ rawHeaders, httpVersion }: IncomingMessage): boolean {
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === 'host') count += 1;
  }
  return count === 1 || (count === 0 && httpVersion === '1.0');
}

/**
 * Who is answered before it was asked for its body may send it or not (RFC 9110, 10.1.1), so nothing that follows could be
 * told apart from it.
 */
function closeUnlessAsked(response: ServerResponse): void {
  const { shouldKeepAlive } = response;
  response.shouldKeepAlive = false;
  const ask = response.writeContinue.bind(response);
  response.writeContinue = (sent) => {
    response.shouldKeepAlive = shouldKeepAlive;
    ask(sent);
  };
}

const wrongHost: ErrorRecord = {
  code: 'BadRequest',
  message: 'A request has exactly one Host header.',
  hint: 'Send HTTP/1.1 requests with one.',
};
const unknownExpectation: ErrorRecord = {
  code: 'BadRequest',
  message: 'The Expect header asks for something that is not known here.',
  hint: 'Send "Expect: 100-continue", or leave it out.',
};
const noProxy: ErrorRecord = {
  code: 'MethodNotAllowed',
  message: 'CONNECT is for proxies, and this is none.',
  hint: 'Send requests to it directly.',
};

/** The connection ends with it: what comes after on it is not to be trusted. */
function refuse(response: ServerResponse, status: number, record: ErrorRecord): void {
  response.on('error', () => undefined);
  sendJson(response, status, { error: record }, ['Connection', 'close']);
}

interface ClientError extends Error {
  readonly code?: string;
  /** The parser's, in words of its own that hold nothing of what was sent. */
  readonly reason?: string;
}

/** What is no HTTP, or came too slowly, is answered in words before the connection ends. */
function answerClientError(error: ClientError, socket: Duplex): void {
  const { status, record } = describe(error);
  endWithError(socket, status, STATUS_CODES[status] ?? '', record);
}

function describe(error: ClientError): { readonly status: number; readonly record: ErrorRecord } {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return {
        status: 431,
        record: {
          code: 'PayloadTooLarge',
          message: `The request's head is larger than ${serverLimits.maxHeaderBytes} bytes.`,
          hint: 'Send fewer or smaller headers or cookies.',
        },
      };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return {
        status: 408,
        record: {
          code: 'BadRequest',
          message: 'The request took too long to arrive.',
          hint: `Send its head within ${serverLimits.headersTimeoutMs / 1000} s.`,
        },
      };
    default:
      return {
        status: 400,
        record: {
          code: 'BadRequest',
          message: `What was sent is not valid HTTP/1.1${error.reason === undefined ? '' : `: ${error.reason}`}.`,
          hint: 'Send HTTP/1.1 requests in the clear.',
        },
      };
  }
}
