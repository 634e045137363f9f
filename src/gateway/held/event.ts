// The events a function gets for a held connection: API Gateway's, as text. Pure.
// The shapes are in "Working with WebSocket APIs" of its developer guide and in what it sends.
import type { IncomingMessage } from 'node:http';
import type { WorkloadKey } from '../../base/ids.ts';
import { forwardingHeaders, type Client } from '../hop.ts';
import { requestTime } from '../request-time.ts';

/** What all events of a connection tell of it. */
export interface EventSubject {
  readonly id: string;
  readonly connectedAtMs: number;
  readonly sourceIp: string;
  readonly userAgent: string;
}

export interface EventContext {
  readonly key: WorkloadKey;
  /** The gateway's own: address and port. */
  readonly authority: string;
  readonly requestId: string;
  readonly nowMs: number;
}

type Particulars =
  | { readonly routeKey: '$connect'; readonly eventType: 'CONNECT' }
  | { readonly routeKey: string; readonly eventType: 'MESSAGE'; readonly messageId: string }
  | {
      readonly routeKey: '$disconnect';
      readonly eventType: 'DISCONNECT';
      readonly disconnectStatusCode: number;
      readonly disconnectReason: string;
    };

/**
 * `http://DOMAIN_NAME/STAGE` is where the connection is managed, as it is with https at AWS: functions put their client's
 * address together so. It is the gateway's own and not what the client called it: that may be anything, and a function would
 * send what is meant for its clients, signed, wherever one of them says.
 */
function requestContext(subject: EventSubject, context: EventContext, particulars: Particulars): object {
  const { key, authority, requestId, nowMs } = context;
  return {
    ...particulars,
    extendedRequestId: requestId,
    requestTime: requestTime(nowMs),
    messageDirection: 'IN',
    stage: `w/${key}`,
    connectedAt: subject.connectedAtMs,
    requestTimeEpoch: nowMs,
    identity: { userAgent: subject.userAgent, sourceIp: subject.sourceIp },
    requestId,
    domainName: authority,
    connectionId: subject.id,
    apiId: key.replace('/', '.'),
  };
}

export interface Handshake {
  readonly request: Pick<IncomingMessage, 'rawHeaders'>;
  /** Below the function's own root. */
  readonly url: string;
  readonly client: Client;
}

export function connectEvent(
  subject: EventSubject,
  context: EventContext,
  { request, url, client }: Handshake,
): string {
  const headers = listed(pairsOf(request.rawHeaders));
  tellWhence(headers, client, context);
  const queryAt = url.indexOf('?');
  const query = listed(queryAt < 0 ? [] : new URLSearchParams(url.slice(queryAt + 1)));
  return JSON.stringify({
    headers: lastOfEach(headers),
    multiValueHeaders: Object.fromEntries(headers),
    ...(query.size === 0
      ? {}
      : {
          queryStringParameters: lastOfEach(query),
          multiValueQueryStringParameters: Object.fromEntries(query),
        }),
    requestContext: requestContext(subject, context, { routeKey: '$connect', eventType: 'CONNECT' }),
    isBase64Encoded: false,
  });
}

export function messageEvent(
  subject: EventSubject,
  context: EventContext,
  routeKey: string,
  { body, isBase64Encoded }: { readonly body: string; readonly isBase64Encoded: boolean },
): string {
  const particulars = { routeKey, eventType: 'MESSAGE', messageId: context.requestId } as const;
  return JSON.stringify({
    requestContext: requestContext(subject, context, particulars),
    body,
    isBase64Encoded,
  });
}

export function disconnectEvent(
  subject: EventSubject,
  context: EventContext,
  { code, reason }: { readonly code: number; readonly reason: string },
): string {
  // What API Gateway puts there: of the handshake's headers nothing is known any more.
  const headers = {
    Host: context.authority,
    'x-api-key': '',
    'X-Forwarded-For': '',
    'x-restapi': '',
  };
  return JSON.stringify({
    headers,
    multiValueHeaders: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
    requestContext: requestContext(subject, context, {
      routeKey: '$disconnect',
      eventType: 'DISCONNECT',
      disconnectStatusCode: code,
      disconnectReason: reason === '' ? (usualReasons[code] ?? '') : reason,
    }),
    isBase64Encoded: false,
  });
}

/** API Gateway's words where the client gave none. */
const usualReasons: Readonly<Record<number, string>> = {
  1000: 'Connection Closed Normally',
  1001: 'Going away',
  1005: 'Client-side close frame status not set',
  1006: 'Connection closed abnormally',
};

/** Names as they were first written, each with all its values. */
type Listed = Map<string, string[]>;

function pairsOf(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2)
    pairs.push([raw[index] ?? '', raw[index + 1] ?? '']);
  return pairs;
}

function listed(pairs: Iterable<readonly [string, string]>): Listed {
  const all: Listed = new Map();
  for (const [name, value] of pairs) {
    const earlier = all.get(name);
    if (earlier === undefined) all.set(name, [value]);
    else earlier.push(value);
  }
  return all;
}

function lastOfEach(all: Listed): Record<string, string> {
  return Object.fromEntries([...all].map(([name, values]) => [name, values.at(-1) ?? '']));
}

/** Who sent it through what, as far as somebody who is believed says so. */
function tellWhence(headers: Listed, client: Client, { requestId, nowMs }: EventContext): void {
  const names = new Set<string>();
  for (const name of [...headers.keys()]) {
    const lower = name.toLowerCase();
    names.add(lower);
    if (forwardingHeaders.has(lower)) headers.delete(name);
  }
  const random = requestId.replaceAll('-', '').slice(0, 24);
  if (!names.has('x-amzn-trace-id'))
    headers.set('X-Amzn-Trace-Id', [`Root=1-${Math.floor(nowMs / 1000).toString(16)}-${random}`]);
  headers.set('X-Forwarded-For', [client.forwardedFor]);
  headers.set('X-Forwarded-Port', [client.port]);
  headers.set('X-Forwarded-Proto', [client.proto]);
}
