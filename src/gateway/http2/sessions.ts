// HTTP/2 connections: what a client may do to one, and how long one is kept. Requests become the same exchanges as over
// HTTP/1.1. Owns the sessions and their bounds. Does not own what requests mean, nor TLS (tls/secure-listener.ts).
//
//    opened ──a request──▶ in use ──all answered──▶ idle ──time──▶ told to go (GOAWAY) ──time──▶ closed
//       │                    └─── when we leave: its next one ──────▶┘
//       └──────── none in time ────────▶ closed
//
// Who idles is told to go before it is, as RFC 9113, 6.8 has it: what it has on its way then is served.
import {
  constants,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import { BellowsError } from '../../base/errors.ts';
import { sendError } from '../answer.ts';
import { http2Limits, serverLimits } from '../config.ts';
import { isFlooded } from './account.ts';
import { Http2Request } from './request.ts';
import { Http2Response } from './response.ts';

export type OnHttp2Request = (
  request: Http2Request,
  response: Http2Response,
  expectsContinue: boolean,
) => void;

interface Session {
  readonly session: ServerHttp2Session;
  readonly socket: Socket;
  readonly streams: Map<ServerHttp2Stream, { readonly request: Http2Request; readonly sinceMs: number }>;
  used: boolean;
  requests: number;
  /** Heads and bodies of requests whose streams are closed. */
  requestBytes: number;
  /** PING and SETTINGS since the last sweep. */
  controlFrames: number;
  /** Since when it has no stream. */
  idleSinceMs: number;
  /** How often it was found to idle for too long since it was last asked for something. */
  warnings: number;
}

/** The highest there is: everything that is on its way is among what will be served. */
const lastStream = 2 ** 31 - 1;

export class Http2Sessions {
  readonly #server: Http2Server;
  readonly #onRequest: OnHttp2Request;
  readonly #nowMs: () => number;
  readonly #sessions = new Map<ServerHttp2Session, Session>();
  readonly #timer: NodeJS.Timeout;
  #leavingSinceMs: number | undefined;

  constructor(onRequest: OnHttp2Request, nowMs: () => number = () => performance.now()) {
    this.#onRequest = onRequest;
    this.#nowMs = nowMs;
    this.#server = createServer({
      maxOutstandingPings: http2Limits.maxOutstandingPings,
      maxSessionInvalidFrames: http2Limits.maxInvalidFrames,
      maxSessionRejectedStreams: http2Limits.maxRejectedStreams,
      maxSessionMemory: http2Limits.maxSessionMegabytes,
      maxHeaderListPairs: http2Limits.maxHeaders,
      streamResetBurst: http2Limits.resetBurst,
      streamResetRate: http2Limits.resetsPerSecond,
      // What an app repeats reaches its client as it does over HTTP/1.1.
      strictSingleValueFields: false,
      settings: {
        enablePush: false,
        maxConcurrentStreams: http2Limits.maxStreams,
        maxHeaderListSize: serverLimits.maxHeaderBytes,
      },
    });
    // A session that breaks is over; its streams tell whoever serves them.
    this.#server.on('sessionError', () => undefined);
    this.#timer = setInterval(() => this.sweep(), serverLimits.checkingIntervalMs).unref();
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** @param socket whose client and we have agreed on HTTP/2 */
  take(socket: Socket): void {
    const opened = (session: ServerHttp2Session): void => this.#take(session, socket);
    this.#server.once('session', opened).emit('connection', socket);
    this.#server.off('session', opened);
  }

  /** Ends what is idle, what never asked for anything, and requests whose body does not come. */
  sweep(): void {
    const nowMs = this.#nowMs();
    for (const state of this.#sessions.values()) {
      state.controlFrames = 0;
      const { session, streams, used } = state;
      if (floods(state)) {
        session.destroy(new Error('frames without end'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
        continue;
      }
      for (const [stream, { request, sinceMs }] of streams)
        if (!request.complete && nowMs - sinceMs > serverLimits.requestTimeoutMs) stream.close();
      if (streams.size > 0) continue;
      if (!this.#idlesTooLong(state, nowMs)) continue;
      state.warnings += 1;
      if (state.warnings === 1 && used) session.goaway(constants.NGHTTP2_NO_ERROR, lastStream);
      else if (!session.closed) session.close();
      // Its client does not end its side.
      else state.socket.destroy();
    }
  }

  #idlesTooLong({ used, idleSinceMs }: Session, nowMs: number): boolean {
    const allowedMs = used ? serverLimits.keepAliveTimeoutMs : serverLimits.headersTimeoutMs;
    if (nowMs - idleSinceMs > allowedMs) return true;
    const leavingMs = nowMs - (this.#leavingSinceMs ?? nowMs);
    return Math.min(leavingMs, nowMs - idleSinceMs) > serverLimits.leavingKeepAliveMs;
  }

  /** Tells every client to go; what is under way is finished. */
  stop(): void {
    for (const { session } of this.#sessions.values()) session.close();
  }

  /**
   * The next request of each session is among its last: its client is told to go when it has come, and who asks for nothing
   * some seconds later. Not now, for not every client of which a request is on its way takes that well.
   */
  leave(): void {
    this.#leavingSinceMs ??= this.#nowMs();
  }

  closeAll(): void {
    clearInterval(this.#timer);
    for (const { session } of this.#sessions.values()) session.destroy();
  }

  #take(session: ServerHttp2Session, socket: Socket): void {
    const state: Session = {
      session,
      socket,
      streams: new Map(),
      used: false,
      requests: 0,
      requestBytes: 0,
      controlFrames: 0,
      idleSinceMs: this.#nowMs(),
      warnings: 0,
    };
    this.#sessions.set(session, state);
    session.on('error', () => undefined);
    session.once('close', () => this.#sessions.delete(session));
    const onControlFrame = (): void => {
      state.controlFrames += 1;
      // The rest of Node's limits are on what costs memory. This costs the others their turn.
      if (state.controlFrames > http2Limits.maxControlFrames)
        session.destroy(new Error('too many PING or SETTINGS'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    };
    session.on('ping', onControlFrame).on('remoteSettings', onControlFrame);
    session.on('stream', (stream, headers, _flags, rawHeaders) =>
      this.#serve(state, stream, headers as IncomingHttpHeaders, rawHeaders),
    );
  }

  #serve(
    state: Session,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[],
  ): void {
    stream.on('error', () => undefined);
    const request = new Http2Request(stream, state.session.socket, headers, rawHeaders);
    const response = new Http2Response(stream);
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    // Answered, the rest of the request is taken back (RFC 9113, 8.1); the connection goes on.
    response.once('finish', () => {
      if (!request.complete) stream.close(constants.NGHTTP2_NO_ERROR);
    });
    state.used = true;
    state.requests += 1;
    state.warnings = 0;
    state.streams.set(stream, { request, sinceMs: this.#nowMs() });
    stream.once('close', () => {
      state.streams.delete(stream);
      state.requestBytes += request.bytesReceived;
      if (state.streams.size === 0) state.idleSinceMs = this.#nowMs();
    });
    const expects = headers.expect?.toLowerCase();
    const refusal =
      request.method === 'CONNECT'
        ? noConnect
        : request.wrong !== undefined
          ? new BellowsError('BadRequest', request.wrong, 'Send it as RFC 9113, 8.3.1 says.')
          : expects !== undefined && expects !== '100-continue'
            ? unknownExpectation
            : undefined;
    const answer = (): void => {
      if (refusal === undefined) this.#onRequest(request, response, expects !== undefined);
      else sendError(response, refusal);
    };
    if (this.#leavingSinceMs === undefined) return answer();
    // Before it is answered, for who asks one thing after the other has nothing on its way now; and after all that came with it.
    setImmediate(() => {
      state.session.close();
      if (!stream.destroyed) answer();
    });
  }
}

/** Of what neither node:http2 nor we count, by the bytes that it takes. */
function floods({ socket, streams, requests, requestBytes }: Session): boolean {
  let bytes = requestBytes;
  for (const { request } of streams.values()) bytes += request.bytesReceived;
  const { bytesRead: receivedBytes, bytesWritten: sentBytes } = socket;
  return isFlooded({ receivedBytes, sentBytes, requests, requestBytes: bytes });
}

const noConnect = new BellowsError(
  'MethodNotAllowed',
  'CONNECT is for proxies, and this is none.',
  'Open WebSockets over HTTP/1.1, as browsers do here.',
);
const unknownExpectation = new BellowsError(
  'BadRequest',
  'The Expect header asks for something that is not known here.',
  'Send "Expect: 100-continue", or leave it out.',
);
