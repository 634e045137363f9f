// What serving a function needs of a request and of its answer, wherever the bytes were parsed: by node:http or by the
// lane (lane/). Owns these shapes and the adapter from node:http's. Does not own parsing.
import { readBody, type Body } from './body.ts';
import type { ClientRequest } from './client-exchange.ts';
import { HeaderBlock } from './header-block.ts';
import type { Hop } from './hop.ts';

/** A request for a function, read as far as its head at least. */
export interface FunctionRequest {
  readonly method: string;
  /** The request target as it came. */
  readonly url: string;
  readonly headers: HeaderBlock;
  readonly httpVersion: string;
  readonly hop: Hop;
  /** Calls back once; at once when all of it is there already. */
  readBody(limitBytes: number, done: (body: Body) => void): void;
}

/** The part of node:http's `ServerResponse` that answers to functions use, with its meaning. */
export interface Answer {
  /** Answered or broken off: nothing can be sent any more. */
  readonly destroyed: boolean;
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  /** @param headers names and values in turn, of characters that may stand in a head */
  writeHead(status: number, headers: string[]): unknown;
  flushHeaders(): void;
  /** @returns false when the client does not keep up: 'drain' follows, or 'close' */
  write(chunk: Buffer): boolean;
  end(body?: string | Buffer): unknown;
  /** Breaks the connection off. */
  destroy(): unknown;
  once(event: 'close' | 'drain', listener: () => void): this;
  off(event: 'close' | 'drain', listener: () => void): this;
}

/** A request that came whole as far as its head. */
export function functionRequestOf(request: ClientRequest, hop: Hop): FunctionRequest {
  return {
    method: request.method ?? 'GET',
    url: request.url ?? '',
    headers: new HeaderBlock(request.rawHeaders),
    httpVersion: request.httpVersion,
    hop,
    readBody: (limitBytes, done) => readBody(request, limitBytes, done),
  };
}
