// One run of a streaming handler: what it writes becomes frames, at the pace at which they are taken, and no more than may be sent.
// Owns that, and when such a run is over. Does not own the stream (response-stream.ts), nor the answer that ends it (function-host.ts).
//
//   running ──┬─ the stream has ended ───────────────────▶ over, well
//             ├─ thrown, rejected, too much written ─────▶ over, with the error
//             └─ nobody reads it ──▶ abandoned ── the handler has ended, however ──▶ over, well; with an error of its own, with that
import { Buffer } from 'node:buffer';
import {
  answerLimits,
  answerTooLargeMessage,
  frameType,
  integrationPrelude,
  streamPieceBytes,
  type StreamPrelude,
} from '../../protocol/instance.ts';
import { RuntimeFailure } from './failure.ts';
import type { Link } from './link.ts';
import type { Handler } from './load-handler.ts';
import { nextTurn, stringifyJson } from './primordials.ts';
import { makeResponseStream, type HandlerStream } from './response-stream.ts';

const { concat, from } = Buffer;

export interface StreamedRunOptions {
  readonly handler: Handler;
  readonly event: unknown;
  readonly context: unknown;
  readonly link: Link;
  /** Of the invocation's frame. */
  readonly id: number;
  /** Whether the caller takes a stream; without, all is gathered. */
  readonly live: boolean;
  /** Of the two, one is called, once. @param body what was gathered */
  readonly onEnd: (body: Buffer | string) => void;
  readonly onError: (thrown: unknown) => void;
}

/** What Node says to who goes on with a stream that was closed: ours, not the handler's fault. */
const closedCodes = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'ERR_STREAM_DESTROYED', 'ABORT_ERR']);

export class StreamedRun {
  readonly #options: StreamedRunOptions;
  readonly #stream: HandlerStream;
  readonly #gathered: Buffer[] = [];
  readonly #limitBytes: number;
  #state: 'running' | 'abandoned' | 'over' = 'running';
  #started = false;
  #bytes = 0;
  /** Whether the handler still promises to end. */
  #promised = false;

  constructor(options: StreamedRunOptions) {
    this.#options = options;
    this.#limitBytes = options.live ? answerLimits.streamedBytes : answerLimits.bufferedBytes;
    this.#stream = makeResponseStream(
      options.handler,
      {
        start: (prelude) => this.#start(prelude),
        chunk: (bytes, done) => this.#chunk(bytes, done),
      },
      () => {
        if (!this.#promised) this.#end();
      },
    );
    this.#stream.writable.on('finish', () => this.#end());
    this.#stream.writable.on('error', (error) => this.#fail(error));
  }

  /** Whether `streamStart` was sent: the answer is then a `streamEnd`. */
  get started(): boolean {
    return this.#started;
  }

  run(): void {
    const { handler, event, context } = this.#options;
    let returned: unknown;
    try {
      returned = handler(event, this.#stream.writable, context);
    } catch (thrown) {
      this.#fail(thrown);
      return;
    }
    if (!isThenable(returned)) return;
    this.#promised = true;
    returned.then(
      () => {
        this.#promised = false;
        if (this.#state === 'abandoned') this.#end();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  /** Nobody takes the answer any more. */
  abandon(): void {
    if (this.#state !== 'running') return;
    this.#state = 'abandoned';
    this.#stream.abandon();
    // Without a promise nothing tells when the handler is done; its stream has ended.
    if (!this.#promised) nextTurn(() => this.#end());
  }

  #start(prelude: StreamPrelude): void {
    const { live, link, id } = this.#options;
    if (this.#state !== 'running') return;
    if (live) {
      this.#started = true;
      link.send(frameType.streamStart, id, stringifyJson(prelude));
      return;
    }
    const bytes = from(integrationPrelude(prelude));
    this.#bytes += bytes.length;
    this.#gathered.push(bytes);
  }

  #chunk(bytes: Buffer, done: (error?: Error) => void): void {
    // What is written after the answer, by code that was left behind, belongs to nothing.
    if (this.#state !== 'running') {
      done();
      return;
    }
    const room = this.#limitBytes - this.#bytes;
    this.#bytes += bytes.length;
    if (bytes.length > room) {
      const error = new RuntimeFailure(
        'Function.ResponseSizeTooLarge',
        answerTooLargeMessage(this.#limitBytes),
      );
      if (this.#options.live) this.#send(bytes.subarray(0, room), () => done(error));
      else done(error);
    } else if (this.#options.live) this.#send(bytes, done);
    else {
      // A copy, for the writer may use its buffer again.
      this.#gathered.push(from(bytes));
      done();
    }
  }

  /** Piece by piece, the next when the kernel has taken the one before. */
  #send(bytes: Buffer, done: () => void): void {
    const { link, id } = this.#options;
    if (this.#state !== 'running' || bytes.length === 0) {
      done();
      return;
    }
    link.send(frameType.streamChunk, id, bytes.subarray(0, streamPieceBytes));
    link.drained(() => this.#send(bytes.subarray(streamPieceBytes), done));
  }

  #end(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#options.onEnd(this.#options.live ? '' : concat(this.#gathered));
  }

  #fail(thrown: unknown): void {
    if (this.#state === 'over') return;
    if (this.#state === 'abandoned' && closedCodes.has(codeOf(thrown))) {
      this.#end();
      return;
    }
    this.#state = 'over';
    this.#options.onError(thrown);
  }
}

/** Of whatever was thrown; never throws. */
function codeOf(thrown: unknown): string {
  try {
    return String((thrown as { code?: unknown } | null | undefined)?.code);
  } catch {
    return '';
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    (typeof value === 'object' || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}
