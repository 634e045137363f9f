// An answer over HTTP/2, with the methods and meanings of node:http's `ServerResponse`: what serves requests knows one.
// Owns that translation, and counting its bytes. node:http2 owns the stream and its flow control.
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { Writable } from 'node:stream';
import type { ClientResponse } from '../client-exchange.ts';

/** About one connection, which HTTP/2 manages by itself (RFC 9113, 8.2.2). */
const connectionHeaders = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'te',
]);

export class Http2Response extends Writable implements ClientResponse {
  /** Head and body, as they are before compression and encryption. */
  bytesSent = 0;
  readonly #stream: ServerHttp2Stream;
  readonly #trailers: OutgoingHttpHeaders = {};

  constructor(stream: ServerHttp2Stream) {
    super();
    this.#stream = stream;
    stream.on('wantTrailers', () => stream.sendTrailers(this.#trailers));
    stream.on('close', () => this.destroy());
  }

  get headersSent(): boolean {
    return this.#stream.headersSent;
  }

  /** HTTP/2 has no reason phrase: one that is given goes nowhere. */
  writeHead(status: number, ...rest: [headers: string[]] | [reason: string, headers: string[]]): this {
    const headers = this.#headersOf(rest.at(-1) as string[]);
    if (!this.#stream.destroyed && !this.#stream.closed)
      this.#stream.respond({ ...headers, ':status': status }, { waitForTrailers: true });
    return this;
  }

  /** Nothing waits: a head is sent as soon as it is written. */
  flushHeaders(): void {}

  writeContinue(): void {
    this.writeInformation(100, []);
  }

  writeInformation(status: number, headers: readonly string[]): void {
    if (this.#stream.headersSent || this.#stream.destroyed) return;
    this.#stream.additionalHeaders({ ...this.#headersOf(headers), ':status': status });
  }

  addTrailers(trailers: readonly [string, string][]): void {
    for (const [name, value] of trailers) this.#trailers[name.toLowerCase()] = value;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.bytesSent += chunk.length;
    this.#stream.write(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    // Answers without a body end with their head.
    if (this.#stream.writableEnded) done();
    else this.#stream.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Half an answer must not look like a whole one, which it would without a code.
    if (!this.writableFinished && !this.#stream.closed) this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    done(error);
  }

  #headersOf(list: readonly string[]): OutgoingHttpHeaders {
    const headers: Record<string, string | string[]> = {};
    for (let index = 0; index + 1 < list.length; index += 2) {
      const name = (list[index] ?? '').toLowerCase();
      const value = list[index + 1] ?? '';
      this.bytesSent += name.length + value.length;
      if (connectionHeaders.has(name)) continue;
      const earlier = headers[name];
      headers[name] = earlier === undefined ? value : [earlier, value].flat();
    }
    return headers;
  }
}
