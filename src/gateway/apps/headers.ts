// Headers on their way through a proxy: what is for one hop only goes, where the request came from is added. Pure.

import { clientOf, forwardingHeaders, type Hop } from '../hop.ts';

export interface Origin {
  readonly hop: Hop;
  /** The Host header as the client sent it. */
  readonly host: string | undefined;
  /** What was cut off the front of the path; empty when nothing was. */
  readonly prefix: string;
}

/** RFC 9110, 7.6.1, with the ones that proxies have always taken as such. `Trailer` is treated by those who stream. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'trailer',
]);
/** What a `Connection` header may not name: it would change what the request is, or where its body ends. */
const endToEnd = ['host', 'content-length'];

/** Headers for the other side: names and values in turn, in their order. @param chunked whether a body of unknown length follows */
export function forwardedRequestHeaders(
  rawHeaders: readonly string[],
  origin: Origin,
  chunked: boolean,
): string[] {
  const dropped = namedInConnection(rawHeaders);
  const headers = copy(
    rawHeaders,
    (name) => hopByHop.has(name) || forwardingHeaders.has(name) || dropped.has(name),
  );
  // HTTP/1.0 needs none, and goes on as HTTP/1.1.
  if (origin.host === undefined) headers.push('Host', 'localhost');
  addOrigin(headers, rawHeaders, origin);
  if (chunked) {
    headers.push('Transfer-Encoding', 'chunked');
    const trailer = valueOf(rawHeaders, 'trailer');
    if (trailer !== undefined) headers.push('Trailer', trailer);
  }
  return headers;
}

/** @param chunked whether the answer goes out chunked: only then trailers can follow */
export function forwardedResponseHeaders(rawHeaders: readonly string[], chunked: boolean): string[] {
  const dropped = namedInConnection(rawHeaders);
  const headers = copy(rawHeaders, (name) => hopByHop.has(name) || dropped.has(name));
  const trailer = chunked ? valueOf(rawHeaders, 'trailer') : undefined;
  if (trailer !== undefined) headers.push('Trailer', trailer);
  return headers;
}

/** The head of an upgrade request as bytes, for a server that is to answer it itself: nothing is taken away but the prefix. */
export function upgradeHead(
  method: string,
  url: string,
  rawHeaders: readonly string[],
  origin: Origin,
): Buffer {
  const headers = copy(rawHeaders, (name) => forwardingHeaders.has(name));
  addOrigin(headers, rawHeaders, origin);
  let text = `${method} ${url} HTTP/1.1\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2)
    text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  // Node reads heads as latin1, so this gives back the very bytes that came.
  return Buffer.from(`${text}\r\n`, 'latin1');
}

/** What is known of the client, as far as somebody who is believed says it (hop.ts). */
function addOrigin(headers: string[], rawHeaders: readonly string[], { hop, host, prefix }: Origin): void {
  const client = clientOf(hop, host, (name) => valueOf(rawHeaders, name));
  headers.push('X-Forwarded-For', client.forwardedFor, 'X-Forwarded-Proto', client.proto);
  if (client.host !== undefined) headers.push('X-Forwarded-Host', client.host);
  headers.push('X-Forwarded-Port', client.port, 'Forwarded', client.forwarded);
  if (prefix !== '') headers.push('X-Forwarded-Prefix', prefix);
}

function copy(rawHeaders: readonly string[], isDropped: (lowerName: string) => boolean): string[] {
  const headers: string[] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    if (!isDropped(name.toLowerCase())) headers.push(name, rawHeaders[index + 1] ?? '');
  }
  return headers;
}

/** Several lines of one header are one list. */
function valueOf(rawHeaders: readonly string[], lowerName: string): string | undefined {
  let value: string | undefined;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() !== lowerName) continue;
    value = value === undefined ? rawHeaders[index + 1] : `${value}, ${rawHeaders[index + 1]}`;
  }
  return value;
}

function namedInConnection(rawHeaders: readonly string[]): Set<string> {
  const value = valueOf(rawHeaders, 'connection');
  const named = new Set(value?.split(',').map((name) => name.trim().toLowerCase()));
  for (const name of endToEnd) named.delete(name);
  return named;
}
