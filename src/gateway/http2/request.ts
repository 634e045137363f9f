// A request over HTTP/2 as the rest of the gateway sees requests: with HTTP/1.1's Host, one Cookie, and no pseudo headers.
// Owns that translation, and counting its bytes. node:http2 owns the stream, and refuses what RFC 9113 calls malformed.
import type { IncomingHttpHeaders } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { ClientRequest } from '../client-exchange.ts';

export class Http2Request extends Readable implements ClientRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly httpVersion = '2.0';
  readonly rawTrailers: string[] = [];
  readonly socket: Socket;
  /** Why it can not be passed on; undefined when it can. */
  readonly wrong: string | undefined;
  /** All of it came. */
  complete: boolean;
  /** Head and body, as they are before compression and encryption. */
  bytesReceived: number;
  readonly #stream: ServerHttp2Stream;
  #reading = false;

  constructor(
    stream: ServerHttp2Stream,
    socket: Socket,
    headers: IncomingHttpHeaders,
    received: readonly string[],
  ) {
    super();
    const { rawHeaders, bytes, wrong } = translate(received);
    this.#stream = stream;
    this.socket = socket;
    this.headers = headers;
    this.rawHeaders = rawHeaders;
    this.wrong = wrong;
    this.bytesReceived = bytes;
    this.method = String(headers[':method']);
    this.url = String(headers[':path']);
    this.complete = stream.endAfterHeaders;
    if (rawHeaders[0] === 'Host') headers.host = rawHeaders[1];
    // HTTP/1.1's way to say that a body of unknown length follows; whoever reads or forwards it goes by this.
    if (headers['content-length'] === undefined && !this.complete) headers['transfer-encoding'] = 'chunked';
    // They may be there before anybody reads.
    stream.on('trailers', (_trailers: unknown, _flags: number, raw?: string[]) => {
      this.rawTrailers.push(...(raw ?? []));
    });
    stream.on('close', () => {
      // A client that broke it off: whoever waits for the rest hears of it.
      if (!this.complete) this.destroy();
    });
  }

  override _read(): void {
    if (this.complete) this.push(null);
    else if (this.#reading) this.#stream.resume();
    else this.#begin();
  }

  #begin(): void {
    this.#reading = true;
    this.#stream
      .on('data', (chunk: Buffer) => {
        this.bytesReceived += chunk.length;
        // Unread, nothing is acknowledged: HTTP/2's own back-pressure.
        if (!this.push(chunk)) this.#stream.pause();
      })
      .on('end', () => {
        if (this.#stream.aborted || this.destroyed) return;
        this.complete = true;
        this.push(null);
      });
  }
}

interface Translated {
  readonly rawHeaders: string[];
  readonly bytes: number;
  readonly wrong: string | undefined;
}

/** What HTTP/1.1's request line can carry, for that is where the path goes on. */
const plainPath = /^(?:\/[!-~\u0080-\u00ff]*|\*)$/;

function translate(received: readonly string[]): Translated {
  const rawHeaders: string[] = [];
  const cookies: string[] = [];
  const hosts = new Set<string>();
  let bytes = 0;
  let wrong: string | undefined;
  for (let index = 0; index + 1 < received.length; index += 2) {
    const name = received[index] ?? '';
    const value = received[index + 1] ?? '';
    bytes += name.length + value.length;
    if (name === ':authority' || name === 'host') hosts.add(value);
    // Split for the sake of compression (RFC 9113, 8.2.3).
    else if (name === 'cookie') cookies.push(value);
    else if (name === ':path' && !plainPath.test(value)) wrong = 'The path has characters that no path has.';
    else if (!name.startsWith(':')) rawHeaders.push(name, value);
  }
  const [host] = hosts;
  if (host !== undefined) rawHeaders.unshift('Host', host);
  if (cookies.length > 0) rawHeaders.push('cookie', cookies.join('; '));
  // With two, those on the way could each believe another.
  if (hosts.size !== 1) wrong = 'A request has exactly one host, in :authority or in a Host header.';
  return { rawHeaders, bytes, wrong };
}
