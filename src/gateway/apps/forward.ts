// Forwards one HTTP request over a kept-open connection and streams the answer back, with back-pressure both ways.
// Owns the exchange. Does not own whereto (app-pool.ts) nor what to say when it does not work.
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { carry, type Carrying } from '../bandwidth/carry.ts';
import type { Line } from '../bandwidth/line.ts';
import { hasBody } from '../body.ts';
import type { ClientRequest, ClientResponse } from '../client-exchange.ts';
import { forwardedResponseHeaders } from './headers.ts';

export interface Upstream {
  readonly agent: Agent;
  /** A Unix socket, or a port of this machine. */
  readonly address: { readonly socketPath: string } | { readonly port: number; readonly host: string };
}

export interface Forwarded {
  readonly url: string;
  readonly headers: readonly string[];
  /** The client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean;
  /** What the bodies go over. */
  readonly line: Line | undefined;
}

/**
 * `unreachable`: nothing of the request was used up, it may be sent elsewhere. `failed`: it was, and no answer has begun.
 * `headTooLarge`, `notHttp`: one has, and can not be passed on.
 */
export type ForwardEnd = 'answered' | 'unreachable' | 'failed' | 'headTooLarge' | 'notHttp' | 'clientGone';

/** Methods that may be sent twice when a kept-open connection turns out to have been closed (RFC 9110, 9.2.2). */
const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

export function forward(
  request: ClientRequest,
  response: ClientResponse,
  upstream: Upstream,
  what: Forwarded,
): Promise<ForwardEnd> {
  return new Promise((resolve) => {
    const method = request.method ?? 'GET';
    const withBody = hasBody(request);
    let begun = false;
    let carrying: Carrying | undefined;
    const outgoing = httpRequest({
      ...upstream.address,
      agent: upstream.agent,
      method,
      path: what.url,
      headers: what.headers,
    });

    const onClientClose = (): void => {
      if (!response.writableFinished) outgoing.destroy();
      resolve(response.writableFinished ? 'answered' : 'clientGone');
    };
    response.once('close', onClientClose);

    const sendBody = (): void => {
      request.once('end', () => {
        if (request.rawTrailers.length > 0 && !outgoing.writableEnded)
          outgoing.addTrailers(pairs(request.rawTrailers));
      });
      // The first bytes of a body carry the head along. When none are there, the head goes alone: who is called may
      // answer, or refuse, without them.
      let bodyBegun = false;
      request.once('data', () => (bodyBegun = true));
      carrying = carry(request, outgoing, what.line, 'in');
      setImmediate(() => {
        if (!bodyBegun && !outgoing.destroyed) outgoing.flushHeaders();
      });
    };
    outgoing.once('socket', (socket) => {
      const start = (): void => {
        begun = true;
        if (!withBody) outgoing.end();
        else if (what.expectsContinue) outgoing.flushHeaders();
        else sendBody();
      };
      if (socket.connecting) socket.once('connect', start);
      else start();
    });
    outgoing.once('continue', () => {
      if (!what.expectsContinue || response.headersSent) return;
      response.writeContinue();
      sendBody();
    });
    outgoing.on('information', ({ statusCode, rawHeaders }) => {
      if (statusCode !== 100 && !response.headersSent) inform(request, response, statusCode, rawHeaders);
    });

    outgoing.once('response', (incoming) => {
      if (response.destroyed) {
        incoming.destroy();
        return;
      }
      answer(request, response, incoming, what.line, () => carrying?.stop());
    });
    outgoing.on('error', (thrown: NodeJS.ErrnoException) => {
      // After the head of the answer, `answer` sees the end of its stream.
      if (response.headersSent || response.destroyed) return;
      response.off('close', onClientClose);
      carrying?.stop();
      if (thrown.code?.startsWith('HPE_')) {
        resolve(thrown.code === 'HPE_HEADER_OVERFLOW' ? 'headTooLarge' : 'notHttp');
        return;
      }
      const stale = outgoing.reusedSocket && !withBody && idempotent.has(method);
      resolve(begun && !stale ? 'failed' : 'unreachable');
    });
  });
}

/** @param stopBody ends the carrying of what the client sends */
function answer(
  request: ClientRequest,
  response: ClientResponse,
  incoming: IncomingMessage,
  line: Line | undefined,
  stopBody: () => void,
): void {
  const chunked = incoming.headers['transfer-encoding'] !== undefined && request.httpVersion !== '1.0';
  try {
    response.writeHead(
      incoming.statusCode ?? 502,
      incoming.statusMessage ?? '',
      forwardedResponseHeaders(incoming.rawHeaders, chunked),
    );
  } catch {
    // Headers that Node read leniently and does not write.
    incoming.destroy();
    response.destroy();
    return;
  }
  incoming.once('end', () => {
    if (incoming.rawTrailers.length > 0 && chunked) response.addTrailers(pairs(incoming.rawTrailers));
  });
  // Half an answer must not look like a whole one.
  incoming.once('close', () => {
    if (!incoming.complete) response.destroy();
  });
  incoming.on('error', () => response.destroy());
  response.once('finish', () => {
    // The app answered without reading all: the rest is read and dropped, for the next request comes after it.
    if (request.complete) return;
    stopBody();
    request.resume();
  });
  // The first bytes of the body carry the head along, in one write and to a client that wakes up once. The head of an
  // answer that comes slowly is worth having before them.
  let bodyBegun = false;
  incoming.once('data', () => (bodyBegun = true));
  carry(incoming, response, line, 'out');
  setImmediate(() => {
    if (!bodyBegun && !response.writableEnded && !response.destroyed) response.flushHeaders();
  });
}

/** What an app says before its answer, as early hints (RFC 8297). HTTP/1.0 knows nothing of the kind. */
function inform(
  { httpVersion }: ClientRequest,
  response: ClientResponse,
  status: number,
  rawHeaders: readonly string[],
): void {
  if (httpVersion === '1.0') return;
  try {
    response.writeInformation(status, forwardedResponseHeaders(rawHeaders, false));
  } catch {
    // Headers that Node read leniently and does not write: the answer is worth more than what was said before it.
  }
}

function pairs(rawTrailers: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let index = 0; index + 1 < rawTrailers.length; index += 2)
    list.push([rawTrailers[index] ?? '', rawTrailers[index + 1] ?? '']);
  return list;
}
