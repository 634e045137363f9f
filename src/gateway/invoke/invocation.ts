// One request to run a function once: what it carries, who wants the answer, and how it can fail.
// Owns its encoding as a frame. Does not own which instance runs it (function-pool.ts).
import { randomUUID } from 'node:crypto';
import { frameHeaderBytes, writeFrameHeader } from '../../base/frame.ts';
import { frameType, invokePrefixBytes, writeInvokePrefix, type Result } from '../../protocol/instance.ts';
import type { ThrottleReason } from '../../protocol/lambda/errors.ts';
import type { Queued } from './queue.ts';

export type Failure =
  /** Too many at once; come again. */
  | { readonly kind: 'throttled'; readonly reason: ThrottleReason }
  /** The function's fault: it timed out, died, or did not start. `payload` is Lambda's JSON for it. */
  | {
      readonly kind: 'functionError';
      readonly payload: string;
      readonly timedOut: boolean;
      /** When it was flagged to get it, and broke off so that its instance could not send it. Never rejects. */
      readonly logTail?: Promise<Buffer> | undefined;
    }
  /** Ours: no instance could be had. */
  | { readonly kind: 'unavailable'; readonly message: string }
  | { readonly kind: 'gone' };

/** Who wants the answer. Exactly one of `onResult` and `onFailure` is called, last. */
export interface Sink {
  /** The buffers are views that stay valid only until it returns. */
  onResult(result: Result): void;
  onFailure(failure: Failure): void;
  /** Only when the invocation was flagged to take a stream. @param prelude JSON */
  onStreamStart?(prelude: Buffer): void;
  /** @returns false to be sent no more until `resume` is called */
  onStreamChunk?(chunk: Buffer, resume: () => void): boolean;
}

export class Invocation implements Queued {
  readonly requestId: string;
  readonly event: Buffer | string;
  readonly eventBytes: number;
  readonly flags: number;
  /** JSON of `{clientContext?}`, or empty. */
  readonly extra: string;
  readonly sink: Sink;
  cancelled = false;
  queuedAtMs = 0;
  /** The frame's id on the link that it was last sent over. */
  frameId = 0;

  constructor(
    event: Buffer | string,
    sink: Sink,
    options: { requestId?: string; flags?: number; extra?: string } = {},
  ) {
    this.requestId = options.requestId ?? randomUUID();
    this.event = event;
    this.eventBytes = typeof event === 'string' ? Buffer.byteLength(event) : event.length;
    this.flags = options.flags ?? 0;
    this.extra = options.extra ?? '';
    this.sink = sink;
  }

  /** The whole frame in one buffer, the event written into it once. @param deadlineMs wall-clock time */
  encode(deadlineMs: number): Buffer {
    const payloadBytes = invokePrefixBytes(this.extra) + this.eventBytes;
    const frame = Buffer.allocUnsafe(frameHeaderBytes + payloadBytes);
    writeFrameHeader(frame, 0, frameType.invoke, this.frameId, payloadBytes);
    const eventAt = writeInvokePrefix(frame, frameHeaderBytes, {
      deadlineMs,
      flags: this.flags,
      requestId: this.requestId,
      extra: this.extra,
    });
    if (typeof this.event === 'string') frame.write(this.event, eventAt, 'utf8');
    else this.event.copy(frame, eventAt);
    return frame;
  }
}
