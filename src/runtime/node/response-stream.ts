// Streamed answers: the global `awslambda` that user code marks streaming handlers with, and the stream they write to.
// Owns marking, the prelude and back-pressure. Does not own frames (function-host.ts gives a sink).
import type { Writable } from 'node:stream';
import process from 'node:process';
import { integrationContentType, type StreamPrelude } from '../../protocol/instance.ts';
import type { Handler } from './load-handler.ts';
import { nextTurn } from './primordials.ts';

/** The symbol that AWS's runtime marks with; libraries set it themselves. */
const streamingMark = Symbol.for('aws.lambda.runtime.handler.streaming');
const highWaterMarkOf = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const defaultContentType = 'application/octet-stream';

export interface StreamSink {
  start(prelude: StreamPrelude): void;
  /** Calls back when more may come, with an error when no more may. */
  chunk(bytes: Buffer, done: (error?: Error) => void): void;
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
        ...(options?.highWaterMark === undefined ? {} : { [highWaterMarkOf]: options.highWaterMark }),
      });
      return handler;
    },
    HttpResponseStream: {
      from(stream: ResponseStream, prelude: Partial<StreamPrelude>): Writable {
        stream[preludeOf] = {
          contentType: integrationContentType,
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

/** The stream that a handler writes its answer to, and what can become of it from outside. */
export interface HandlerStream {
  readonly writable: Writable;
  /** Nobody reads it any more: it closes, as a connection does whose client has left. */
  abandon(): void;
}

/**
 * `start` is told before the first chunk, or at the end of an empty answer.
 * @param onAbandonedEnd user code has ended a stream that was abandoned before
 */
export function makeResponseStream(
  handler: Handler,
  sink: StreamSink,
  onAbandonedEnd: () => void,
): HandlerStream {
  const { Writable: WritableStream } = process.getBuiltinModule('node:stream');
  const highWaterMark = (handler as { [highWaterMarkOf]?: unknown })[highWaterMarkOf];
  let started = false;
  const start = (): void => {
    if (started) return;
    started = true;
    sink.start(stream[preludeOf] ?? { contentType });
  };
  let contentType = defaultContentType;
  const writable = new WritableStream({
    ...(typeof highWaterMark === 'number' ? { highWaterMark } : {}),
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
  const abandon = (): void => {
    // `pipeline` ends with the close that follows. Code that writes by itself goes on to its own end, as at Lambda, for which
    // it must neither wait for a drain that can not come any more, nor find that it may not write.
    const swallow = (...args: readonly unknown[]): void => {
      const done = args.find((argument) => typeof argument === 'function');
      if (done !== undefined) nextTurn(done as () => void);
    };
    Object.assign(stream, {
      write: (...args: readonly unknown[]): boolean => {
        swallow(...args);
        return true;
      },
      end: (...args: readonly unknown[]): Writable => {
        swallow(...args);
        onAbandonedEnd();
        return stream;
      },
    });
    // In a turn of its own: what a listener throws is as uncaught as anything else of user code.
    if (stream.writableNeedDrain) nextTurn(() => stream.emit('drain'));
    stream.destroy();
  };
  return { writable: stream, abandon };
}
