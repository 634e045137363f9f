// Streamed answers: the global `awslambda` that user code marks streaming handlers with, and the stream they write to.
// Owns marking, the prelude and back-pressure. Does not own frames (function-host.ts gives a sink).
import type { Writable } from 'node:stream';
import process from 'node:process';
import type { StreamPrelude } from '../../protocol/instance.ts';
import type { Handler } from './load-handler.ts';
import { stringifyJson } from './primordials.ts';

/** The symbol that AWS's runtime marks with; libraries set it themselves. */
const streamingMark = Symbol.for('aws.lambda.runtime.handler.streaming');
const defaultContentType = 'application/octet-stream';
/** How AWS says in the content type that a JSON prelude, ended by eight zero bytes, comes before the body. */
const preludeContentType = 'application/vnd.awslambda.http-integration-response';
const preludeEnd = '\0'.repeat(8);

export interface StreamSink {
  start(prelude: StreamPrelude): void;
  /** Calls back when more may come. */
  chunk(bytes: Buffer, done: () => void): void;
}

interface ResponseStream extends Writable {
  setContentType(contentType: string): void;
  [preludeOf]: StreamPrelude | undefined;
}
const preludeOf = Symbol('prelude');

export function isStreaming(handler: Handler): boolean {
  return (handler as { [streamingMark]?: unknown })[streamingMark] === 'response';
}

/** Makes the global `awslambda`. */
export function installStreaming(): void {
  const awslambda = {
    streamifyResponse(handler: Handler, options?: { highWaterMark?: number }): Handler {
      Object.assign(handler, {
        [streamingMark]: 'response',
        ...(options?.highWaterMark === undefined
          ? {}
          : { [Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark')]: options.highWaterMark }),
      });
      return handler;
    },
    HttpResponseStream: {
      from(stream: ResponseStream, prelude: Partial<StreamPrelude>): Writable {
        stream[preludeOf] = {
          contentType: preludeContentType,
          statusCode: Number(prelude.statusCode ?? 200),
          headers: Object.fromEntries(
            Object.entries(prelude.headers ?? {}).map(([name, value]) => [name, String(value)]),
          ),
          cookies: (prelude.cookies ?? []).map(String),
        };
        return stream;
      },
    },
  };
  Object.defineProperty(globalThis, 'awslambda', {
    value: awslambda,
    writable: true,
    configurable: true,
    enumerable: false,
  });
}

/** The stream a handler writes its answer to. `start` is told before the first chunk, or at the end of an empty answer. */
export function makeResponseStream(sink: StreamSink): Writable {
  const { Writable: WritableStream } = process.getBuiltinModule('node:stream');
  let started = false;
  const start = (): void => {
    if (started) return;
    started = true;
    sink.start(stream[preludeOf] ?? { contentType });
  };
  let contentType = defaultContentType;
  const writable = new WritableStream({
    write(chunk: Buffer, _encoding, done) {
      start();
      sink.chunk(chunk, done);
    },
    final(done) {
      start();
      done();
    },
  });
  const stream: ResponseStream = Object.assign(writable, {
    setContentType(value: string): void {
      contentType = String(value);
    },
    [preludeOf]: undefined as StreamPrelude | undefined,
  });
  return stream;
}

/** What comes before the body where the caller takes no stream, as AWS's buffered invocation returns it. */
export function bufferedPrelude(prelude: StreamPrelude): string {
  if (prelude.contentType !== preludeContentType) return '';
  const { statusCode, headers, cookies } = prelude;
  return stringifyJson({ statusCode, headers, cookies }) + preludeEnd;
}
