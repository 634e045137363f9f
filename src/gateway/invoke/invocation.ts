// One request to run a function once: what it carries, who wants the answer, and how it can fail.
// Owns its encoding as a frame. Does not own which instance runs it (function-pool.ts).
import { randomUUID } from 'node:crypto';
import type { FrameBatch } from '../../base/frame-batch.ts';
import { mib } from '../../base/quantity.ts';
import { frameType, invokePrefixBytes, writeInvokePrefix, type Result } from '../../protocol/instance.ts';
import type { ThrottleReason } from '../../protocol/lambda/errors.ts';
import type { WorkloadRoute } from '../../protocol/routes.ts';
import type { Queued } from './queue.ts';

export type Failure =
  /** Too many at once; come again. */
  | {
      readonly kind: 'throttled';
      readonly reason: ThrottleReason;
      /** For people: which limit, and whose. */
      readonly message: string;
    }
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

/**
 * What goes with an event besides it, as JSON; empty when there is nothing.
 * @param clientContext JSON, or empty
 * @param traceId the caller's own trace, which goes on in the instance
 */
export function extraOf(clientContext: string, traceId: string | undefined): string {
  if (clientContext === '' && traceId === undefined) return '';
  const members: string[] = [];
  if (clientContext !== '') members.push(`"clientContext":${clientContext}`);
  if (traceId !== undefined) members.push(`"traceId":${JSON.stringify(traceId)}`);
  return `{${members.join(',')}}`;
}

/** Up to here three times the room is less work than counting. */
const uncountedCharacters = 2048;

export class Invocation implements Queued {
  readonly requestId: string;
  readonly event: Buffer | string;
  readonly flags: number;
  /** JSON of `{clientContext?, traceId?}`, or empty; see {@link extraOf}. */
  readonly extra: string;
  readonly sink: Sink;
  cancelled = false;
  queuedAtMs = NaN;
  takenBefore = 0;
  /** The frame's id on the link that it was last sent over. */
  frameId = 0;
  #eventBytes: number | undefined;

  constructor(
    event: Buffer | string,
    sink: Sink,
    options: { requestId?: string; flags?: number; extra?: string } = {},
  ) {
    this.requestId = options.requestId ?? randomUUID();
    this.event = event;
    this.flags = options.flags ?? 0;
    this.extra = options.extra ?? '';
    this.sink = sink;
  }

  /** Counted only where it waits, for that costs as much as writing it. */
  get eventBytes(): number {
    return (this.#eventBytes ??=
      typeof this.event === 'string' ? Buffer.byteLength(this.event) : this.event.length);
  }

  /** Writes the whole frame, the event into it once. */
  write(
    batch: FrameBatch,
    { timeoutMs, memoryBytes }: Pick<WorkloadRoute, 'timeoutMs' | 'memoryBytes'>,
  ): void {
    const { event } = this;
    const at = batch.begin(invokePrefixBytes(this.extra) + this.#mostEventBytes());
    const eventAt = writeInvokePrefix(batch.buffer, at, {
      timeoutMs,
      memoryMb: Math.round(memoryBytes / mib),
      flags: this.flags,
      requestId: this.requestId,
      extra: this.extra,
    });
    const eventBytes =
      typeof event === 'string' ? batch.buffer.write(event, eventAt) : event.copy(batch.buffer, eventAt);
    batch.end(frameType.invoke, this.frameId, eventAt - at + eventBytes);
  }

  /** A UTF-16 unit has at most three bytes in UTF-8: room for a short event needs no counting. */
  #mostEventBytes(): number {
    const { event } = this;
    return typeof event === 'string' && event.length <= uncountedCharacters
      ? event.length * 3
      : this.eventBytes;
  }
}
