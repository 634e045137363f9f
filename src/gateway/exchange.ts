// What serving a function needs of a request and of its answer, wherever the bytes were parsed: by node:http or by the
// lane (lane/). Owns these shapes and the adapter from node:http's. Does not own parsing.
import { hasBody, type Body, type BodyOwner, type BodyReader, type Reading } from './body.ts';
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
  /** Whether its body is there already, if it has one. */
  readonly isWhole: boolean;
  /** The client sends its body when it is asked for it: whoever is refused anyway, is refused before. */
  readonly waitsToSend: boolean;
  /**
   * Calls back once; at once when it is whole.
   * @param owner in whose name memory is taken for what still has to come
   */
  readBody(limitBytes: number, owner: BodyOwner, done: (body: Body) => void): void;
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
export function functionRequestOf(reading: Reading, hop: Hop, reader: BodyReader): FunctionRequest {
  const { request } = reading;
  return {
    method: request.method ?? 'GET',
    url: request.url ?? '',
    headers: new HeaderBlock(request.rawHeaders),
    httpVersion: request.httpVersion,
    hop,
    isWhole: !hasBody(request),
    waitsToSend: reading.expectsContinue && hasBody(request),
    readBody: (limitBytes, owner, done) => reader.read(reading, limitBytes, owner, done),
  };
}
