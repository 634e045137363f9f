// A client asks for a WebSocket of a function: its tenant's limit, `$connect`, and the handshake. Owns that exchange. Does
// not own what follows (connection.ts).
import { randomBytes, randomUUID } from 'node:crypto';
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { BellowsError } from '../../base/errors.ts';
import { outcome, type Result } from '../../protocol/instance.ts';
import { endWithError } from '../answer.ts';
import type { FunctionPool } from '../invoke/function-pool.ts';
import { Invocation, type Failure } from '../invoke/invocation.ts';
import { refuseConnection } from '../limits/refuse-connection.ts';
import type { TenantConnections } from '../limits/tenant-connections.ts';
import type { Meter } from '../meter.ts';
import { negotiateDeflate } from '../websocket/deflate.ts';
import { closeCode } from '../websocket/frame.ts';
import { acceptanceOf, asksInOrder, offeredProtocols } from '../websocket/handshake.ts';
import { clientOf, type Client, type Hop } from '../hop.ts';
import { readAnswer } from './answer.ts';
import { HeldConnection } from './connection.ts';
import { connectEvent } from './event.ts';
import type { HeldFunction } from './held-function.ts';
import { HeldSocket } from './sockets.ts';

export interface HeldExchange {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** What the client sent after the request's head, as far as it was read. */
  readonly head: Buffer;
  /** Path and query below the function's own root. */
  readonly url: string;
  readonly hop: Hop;
  readonly pool: FunctionPool;
  readonly held: HeldFunction;
  readonly meter: Meter;
  /** The tenant's. */
  readonly connections: TenantConnections;
}

type Verdict =
  | { readonly is: 'accepted'; readonly protocol: string | undefined }
  | {
      readonly is: 'refused';
      readonly status: number;
      readonly body: string | Buffer;
      readonly headers: readonly string[];
    };

/** Twelve random bytes: as opaque as API Gateway's, of characters that need no encoding in a path. */
const idBytes = 12;

export async function acceptHeld(exchange: HeldExchange): Promise<void> {
  const { request, socket, held, meter, connections } = exchange;
  meter.of(held.key).requests += 1;
  socket.setTimeout(0);
  if (!asksInOrder(request)) {
    const error = new BellowsError(
      'BadRequest',
      'A function takes WebSockets of version 13 only, and this asks for something else.',
      'Connect with a WebSocket client.',
    );
    endWithError(socket, 426, 'Upgrade Required', error.toRecord(), ['Sec-WebSocket-Version', '13']);
    return;
  }
  if (!connections.isKnown) await connections.whenKnown();
  if (socket.destroyed) return;
  if (!connections.enter()) {
    meter.of(held.key).throttles += 1;
    refuseConnection(request, socket, connections);
    return;
  }
  socket.once('close', connections.leave);
  const client = clientOf(exchange.hop, request.headers.host, (name) => request.headers[name]?.toString());
  const connection = new HeldConnection(held, randomBytes(idBytes).toString('base64url'), {
    sourceIp: client.ip,
    userAgent: request.headers['user-agent'] ?? '',
  });
  held.add(connection);
  const verdict = held.routes.has('$connect')
    ? await askFunction(exchange, connection, client)
    : ({ is: 'accepted', protocol: offeredProtocols(request)[0] } as const);
  // The function may have been deleted while it was asked.
  if (verdict.is === 'accepted' && connection.state.is === 'connecting') {
    open(exchange, connection, verdict.protocol);
    return;
  }
  held.remove(connection);
  if (verdict.is === 'refused') refuse(socket, verdict);
  else socket.destroy();
}

/** Completes the handshake. @param protocol which the function has chosen */
function open(
  { request, socket, head, connections }: HeldExchange,
  connection: HeldConnection,
  protocol?: string,
): void {
  const chosen = offeredProtocols(request).find((offered) => offered === protocol);
  const deflate = negotiateDeflate(request.headers['sec-websocket-extensions']);
  const answer = acceptanceOf(request, chosen, deflate?.answer);
  if (answer === undefined || !socket.readable || !socket.writable) {
    socket.destroy();
    connection.left({ code: closeCode.abnormal, reason: '' });
    return;
  }
  const early = [head];
  for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
    early.push(chunk);
  // From now on the connection tells of its end.
  socket.off('close', connections.leave);
  const held = new HeldSocket(socket, connection, deflate);
  held.greet(answer);
  connection.opened(held);
  held.take(Buffer.concat(early));
}

function askFunction(
  { request, url, pool, held, meter }: HeldExchange,
  connection: HeldConnection,
  client: Client,
): Promise<Verdict> {
  const requestId = randomUUID();
  const words = (message: string): string =>
    JSON.stringify({ message, connectionId: connection.id, requestId });
  const event = connectEvent(connection, held.context(requestId), { request, url, client });
  return new Promise((resolve) => {
    const fail = (
      status: number,
      message: string,
      kind: 'errors' | 'throttles',
      headers: string[] = [],
    ): void => {
      meter.of(held.key)[kind] += 1;
      resolve({ is: 'refused', status, body: words(message), headers });
    };
    const sink = {
      onResult: ({ outcome: how, body }: Result): void => {
        const answer = how === outcome.ok ? readAnswer(body) : undefined;
        if (answer === undefined) fail(502, 'Internal server error', 'errors');
        else if (answer.status >= 200 && answer.status < 300)
          resolve({ is: 'accepted', protocol: answer.protocol });
        else {
          // A status below 200 would leave the client waiting for another.
          const status = answer.status < 200 ? 502 : answer.status;
          resolve({
            is: 'refused',
            status,
            body: answer.body ?? words(STATUS_CODES[status] ?? ''),
            headers: [],
          });
        }
      },
      onFailure: (failure: Failure): void => {
        switch (failure.kind) {
          case 'throttled':
            fail(429, 'Too Many Requests', 'throttles', ['Retry-After', '1']);
            return;
          case 'unavailable':
            fail(503, 'Service Unavailable', 'errors', ['Retry-After', '1']);
            return;
          case 'functionError':
            if (failure.timedOut) fail(504, 'Endpoint request timed out', 'errors');
            else fail(502, 'Internal server error', 'errors');
            return;
          case 'gone':
            fail(410, 'Gone', 'errors');
        }
      },
    };
    pool.submit(new Invocation(event, sink, { requestId }));
  });
}

/** Nothing of what the function answers but its status and its body gets into the head. */
function refuse(socket: Socket, { status, body, headers }: Extract<Verdict, { is: 'refused' }>): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n`;
  if (typeof body === 'string') head += 'Content-Type: application/json\r\n';
  for (let index = 0; index + 1 < headers.length; index += 2)
    head += `${headers[index]}: ${headers[index + 1]}\r\n`;
  socket.end(Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), Buffer.from(body)]), () =>
    socket.destroy(),
  );
}
