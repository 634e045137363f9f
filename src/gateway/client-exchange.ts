// A client's request and the answer to it as streams, in what serving uses of node:http's own: HTTP/2's (http2/) have the same.
// Owns these two shapes alone.
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

/** What serving needs of node:http's `IncomingMessage`; over HTTP/2 it is http2/request.ts's. */
export interface ClientRequest extends Readable {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly rawTrailers: string[];
  readonly httpVersion: string;
  /** All of it was read. */
  readonly complete: boolean;
  readonly socket: Socket;
}

/** What serving needs of node:http's `ServerResponse`; over HTTP/2 it is http2/response.ts's. */
export interface ClientResponse extends Writable {
  readonly headersSent: boolean;
  writeHead(status: number, headers: string[]): unknown;
  writeHead(status: number, reason: string, headers: string[]): unknown;
  flushHeaders(): void;
  writeContinue(): void;
  /** @param status of 1xx, neither 100 nor 101. @throws where a header is none that can be sent */
  writeInformation(status: number, headers: string[]): unknown;
  addTrailers(trailers: [string, string][]): void;
}
