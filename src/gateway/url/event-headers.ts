// The part of a URL's event that follows from a request's headers and its connection alone: made once for all requests
// of a connection that repeat their headers. Pure. Does not own the event around it (event.ts).

import type { WorkloadKey } from '../../base/ids.ts';
import { clientOf, forwardingHeaders, type Hop } from '../hop.ts';

/** Which of AWS X-Ray's traces a request belongs to. */
export const traceHeader = 'x-amzn-trace-id';

/** What of an event depends on nothing but the headers and the connection. */
export interface EventHeaders {
  /** What stands between the braces of the JSON object `headers`. */
  readonly members: string;
  /** A whole member with its comma, or nothing. */
  readonly cookies: string;
  /** The client's address. */
  readonly sourceIp: string;
  /** JSON, as `userAgent`. */
  readonly domainName: string;
  readonly userAgent: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  /** The caller's own, which goes on through us; undefined when each request needs a new one. */
  readonly traceId: string | undefined;
  /** Of the last event that was made with them; kept by event.ts. */
  lastParts: EventParts | undefined;
}

/** What requests for the same with the same headers have in common: whoever asks again and again is spared making it. */
export interface EventParts {
  readonly method: string;
  readonly url: string;
  readonly key: WorkloadKey;
  readonly accountId: string;
  /** Up to the last of the headers. */
  readonly opening: string;
  /** From there up to the request id. */
  readonly middle: string;
}

/**
 * Names in lower case, several values of one name joined by commas, cookies apart, and who sent it through what.
 * @param raw names and values in turn
 */
export function readEventHeaders(raw: readonly string[], hop: Hop): EventHeaders {
  const names: string[] = [];
  const values: string[] = [];
  const cookies: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = (raw[index] ?? '').toLowerCase();
    const value = raw[index + 1] ?? '';
    if (name === 'cookie') {
      for (const cookie of value.split(';')) if (cookie.trim() !== '') cookies.push(cookie.trim());
      continue;
    }
    const earlier = names.indexOf(name);
    if (earlier < 0) {
      names.push(name);
      values.push(value);
    } else values[earlier] += `,${value}`;
  }
  const valueOf = (name: string): string | undefined => values[names.indexOf(name)];
  const client = clientOf(hop, valueOf('host'), valueOf);
  const forwarded = ['x-forwarded-for', client.forwardedFor];
  forwarded.push('x-forwarded-proto', client.proto, 'x-forwarded-port', client.port);
  // A header's name is an RFC 9110 token, as the parser has seen to: nothing in it needs escaping.
  const members: string[] = [];
  for (const [index, name] of names.entries())
    if (!forwardingHeaders.has(name)) members.push(`"${name}":${JSON.stringify(values[index])}`);
  for (let index = 0; index + 1 < forwarded.length; index += 2)
    members.push(`"${forwarded[index]}":${JSON.stringify(forwarded[index + 1])}`);
  return {
    members: members.join(','),
    cookies: cookies.length === 0 ? '' : `"cookies":${JSON.stringify(cookies)},`,
    domainName: JSON.stringify(withoutPort(valueOf('host') ?? '')),
    sourceIp: client.ip,
    userAgent: JSON.stringify(valueOf('user-agent') ?? ''),
    contentType: valueOf('content-type') ?? '',
    contentEncoding: valueOf('content-encoding') ?? '',
    traceId: valueOf(traceHeader),
    lastParts: undefined,
  };
}

function withoutPort(host: string): string {
  const colon = host.lastIndexOf(':');
  return colon < 0 || host.endsWith(']') ? host : host.slice(0, colon);
}
