// Runs a function's handler for one event after the other and answers each on the link it came from.
// Owns the queue and how an invocation ends. Does not own loading, logging, or when the process must die of a time-out.
//
//   idle ──invoke──▶ running ──┬─ promise settled, value returned, callback ──▶ answered ─▶ (next turn) idle
//                              ├─ callback not yet called, nothing promised: until the event loop is empty ─▶ answered
//                              └─ uncaught error ──▶ answered as fatal ──▶ the process exits
import { Buffer } from 'node:buffer';
import process from 'node:process';
import {
  answerLimits,
  answerTooLargeMessage,
  encodeResultFrame,
  frameType,
  invokeFlag,
  outcome,
  type FunctionIdentity,
  type Invoke,
  type Outcome,
} from '../../protocol/instance.ts';
import { logEntry } from './console.ts';
import { makeContext, parseExtra, type Callback, type Context } from './context.ts';
import { rejectionFailure, RuntimeFailure, toInvocationError } from './failure.ts';
import { exitWith, type InvocationLog } from './invocation-log.ts';
import type { Link, Links } from './link.ts';
import type { Handler } from './load-handler.ts';
import type { MemoryLimit } from './memory-limit.ts';
import { peakKib } from './memory.ts';
import { Unanswered } from './unanswered.ts';
import { monotonicMs, nextTurn, parseJson, startTimer, stringifyJson } from './primordials.ts';
import { isStreaming } from './response-stream.ts';
import { isThenable, StreamedRun } from './streamed-run.ts';

const { alloc, byteLength } = Buffer;
const noTail = alloc(0);
const maxResponseBytes = answerLimits.bufferedBytes;
/** Node's own codes, as AWS's runtime exits. */
const exitCodes = { unhandledRejection: 128, uncaughtException: 129 } as const;
/** How long a fatal answer may take to reach the kernel before the process exits without. */
const lastWordsMs = 500;

interface Invocation {
  readonly invoke: Invoke;
  readonly id: number;
  readonly link: Link;
  startedMs: number;
  context: Context | undefined;
  /** Set when the callback was called and the event loop is to run empty before the answer. */
  pending: { readonly error: unknown; readonly result: unknown } | undefined;
  waitsForEmptyLoop: boolean;
  /** Of a streaming handler, once it runs. */
  stream: StreamedRun | undefined;
  /** Nobody wants the answer, and it has not begun. */
  abandoned: boolean;
  answered: boolean;
}

export interface FunctionHostOptions {
  readonly identity: FunctionIdentity;
  readonly handler: Handler;
  readonly initMs: number;
  readonly log: InvocationLog;
  readonly links: Links;
  readonly memoryLimit: MemoryLimit;
  /** Told when work begins and ends. */
  readonly onBusy: (busy: boolean) => void;
  /** Told when nothing is left to run after `stop`. */
  readonly onStopped: () => void;
}

export class FunctionHost {
  readonly #options: FunctionHostOptions;
  readonly #queue: Invocation[] = [];
  readonly #unanswered = new Unanswered();
  #current: Invocation | undefined;
  /** How many turns are asked for and have not come: one for each that waits, so that all run in one round of the event loop. */
  #turnsComing = 0;
  #stopping = false;
  #reportedInit = false;
  #traceId = '';

  constructor(options: FunctionHostOptions) {
    this.#options = options;
    process.on('beforeExit', () => this.#loopIsEmpty());
    process.on('uncaughtException', (error) =>
      this.fail(error, 'Uncaught Exception', exitCodes.uncaughtException),
    );
    process.on('unhandledRejection', (reason) =>
      this.fail(rejectionFailure(reason), 'Unhandled Promise Rejection', exitCodes.unhandledRejection),
    );
  }

  get requestId(): string | undefined {
    return this.#current?.invoke.requestId;
  }

  /** It is told how many invocations of others there are, now and whenever that changes. */
  watch(link: Link): void {
    this.#unanswered.watch(link);
  }

  linkClosed(link: Link): void {
    this.#unanswered.forget(link);
  }

  /** @param id the frame's, for its answer */
  enqueue(invoke: Invoke, id: number, link: Link): void {
    this.#unanswered.add(link, 1);
    this.#queue.push({
      invoke,
      id,
      link,
      startedMs: 0,
      context: undefined,
      pending: undefined,
      waitsForEmptyLoop: false,
      stream: undefined,
      abandoned: false,
      answered: false,
    });
    if (this.#current === undefined && this.#turnsComing === 0) this.#startNext();
    else this.#askForTurn();
  }

  /** Nobody wants the streamed answer to what came as this frame: what has not begun is not run. Others go on to their end. */
  abandon(id: number, link: Link): void {
    const isMeant = (invocation: Invocation): boolean =>
      invocation.id === id && invocation.link === link && (invocation.invoke.flags & invokeFlag.stream) !== 0;
    if (this.#current !== undefined && isMeant(this.#current)) this.#current.stream?.abandon();
    for (const invocation of this.#queue) if (isMeant(invocation)) invocation.abandoned = true;
  }

  /** Runs what is queued, then tells `onStopped`. */
  stop(): void {
    this.#stopping = true;
    if (this.#current === undefined && this.#queue.length === 0) this.#options.onStopped();
  }

  /** The process can not go on: answers what runs, if anything, and exits. */
  fail(thrown: unknown, headline: string, exitCode: number): void {
    const { log } = this.#options;
    log.write(logEntry(this.requestId, 'ERROR', `${headline} \t${stringifyJson(describe(thrown))}`));
    const invocation = this.#current;
    if (invocation === undefined || invocation.answered) exitWith(log, exitCode);
    this.#answer(invocation, outcome.fatal, stringifyJson(toInvocationError(thrown)));
    startTimer(() => exitWith(log, exitCode), lastWordsMs);
    invocation.link.drained(() => exitWith(log, exitCode));
  }

  /**
   * The next one runs in a turn of its own: between two turns Node runs what promises and ticks are left, and finds
   * what was rejected and not handled, so that it counts against the one that caused it.
   */
  #askForTurn(): void {
    this.#turnsComing += 1;
    nextTurn(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#turnsComing -= 1;
    if (this.#current !== undefined) return;
    if (this.#queue.length === 0) this.#options.onBusy(false);
    this.#startNext();
  };

  #startNext(): void {
    const next = this.#queue.shift();
    if (next === undefined) {
      if (this.#stopping) this.#options.onStopped();
      return;
    }
    if (next.abandoned) {
      const summary = { outcome: outcome.ok, durationMicros: 0, peakKib: 0 };
      next.link.sendEncoded(encodeResultFrame(frameType.result, next.id, summary, noTail, 'null'));
      if (this.#turnsComing === 0) this.#askForTurn();
      return;
    }
    this.#current = next;
    this.#run(next);
  }

  #run(invocation: Invocation): void {
    const { identity, log, handler } = this.#options;
    const { invoke } = invocation;
    this.#options.onBusy(true);
    invocation.startedMs = monotonicMs();
    log.begin(
      `START RequestId: ${invoke.requestId} Version: ${identity.version}\n`,
      (invoke.flags & invokeFlag.logTail) !== 0,
      invocation.startedMs,
    );
    const extra = parseExtra(invoke.extra);
    this.#setTraceId(typeof extra.traceId === 'string' ? extra.traceId : '');
    const callback: Callback = (error, result) => this.#calledBack(invocation, error, result);
    const context = makeContext(
      identity,
      this.#options.memoryLimit.at(invoke.memoryMb),
      invoke,
      invocation.startedMs,
      extra,
      callback,
    );
    invocation.context = context;
    try {
      const event: unknown = invoke.event.length === 0 ? {} : parseJson(invoke.event.toString());
      if (isStreaming(handler)) {
        this.#runStreaming(invocation, event, context);
        return;
      }
      const returned = handler(event, context, callback);
      if (isThenable(returned)) {
        returned.then(
          (value) => this.#succeed(invocation, value),
          (error: unknown) => this.#reject(invocation, error),
        );
      } else if (returned !== undefined && handler.length < 3) {
        this.#succeed(invocation, returned);
      } else if (!invocation.answered) {
        this.#waitForEmptyLoop(invocation);
      }
    } catch (thrown) {
      this.#reject(invocation, thrown);
    }
  }

  #runStreaming(invocation: Invocation, event: unknown, context: Context): void {
    const { link, id, invoke } = invocation;
    invocation.stream = new StreamedRun({
      handler: this.#options.handler,
      event,
      context,
      link,
      id,
      live: (invoke.flags & invokeFlag.stream) !== 0,
      onEnd: (body) => this.#answer(invocation, outcome.ok, body),
      onError: (thrown) => this.#reject(invocation, thrown),
    });
    invocation.stream.run();
  }

  #calledBack(invocation: Invocation, error: unknown, result: unknown): void {
    if (invocation.answered || invocation.pending !== undefined) return;
    invocation.pending = { error, result };
    if (invocation.context?.callbackWaitsForEmptyEventLoop === false)
      nextTurn(() => this.#answerPending(invocation));
    else this.#waitForEmptyLoop(invocation);
  }

  #waitForEmptyLoop(invocation: Invocation): void {
    invocation.waitsForEmptyLoop = true;
    this.#options.links.holdLoop(false);
  }

  #loopIsEmpty(): void {
    const invocation = this.#current;
    if (invocation === undefined || !invocation.waitsForEmptyLoop) return;
    invocation.pending ??= { error: null, result: null };
    this.#answerPending(invocation);
  }

  #answerPending(invocation: Invocation): void {
    const { pending } = invocation;
    if (pending === undefined) return;
    if (pending.error === null || pending.error === undefined) this.#succeed(invocation, pending.result);
    else this.#reject(invocation, pending.error);
  }

  #succeed(invocation: Invocation, value: unknown): void {
    if (invocation.answered) return;
    let body: string;
    try {
      // A function or a symbol has no JSON: nothing to return, as undefined.
      body = value === undefined ? 'null' : (stringifyJson(value) ?? 'null');
    } catch (thrown) {
      this.#reject(
        invocation,
        new RuntimeFailure('Runtime.MarshalError', 'Unable to stringify response body', thrown),
      );
      return;
    }
    // A UTF-16 unit has at most three bytes in UTF-8: most answers need no counting.
    if (body.length * 3 > maxResponseBytes && byteLength(body) > maxResponseBytes) {
      this.#reject(
        invocation,
        new RuntimeFailure('Function.ResponseSizeTooLarge', answerTooLargeMessage(maxResponseBytes)),
      );
      return;
    }
    this.#answer(invocation, outcome.ok, body);
  }

  #reject(invocation: Invocation, thrown: unknown): void {
    if (invocation.answered) return;
    const error = describe(thrown);
    this.#options.log.write(
      logEntry(invocation.invoke.requestId, 'ERROR', `Invoke Error \t${stringifyJson(error)}`),
    );
    const { errorType, errorMessage, stack } = error;
    this.#answer(invocation, outcome.handled, stringifyJson({ errorType, errorMessage, trace: stack }));
  }

  #answer(invocation: Invocation, result: Outcome, body: string | Uint8Array): void {
    if (invocation.answered) return;
    invocation.answered = true;
    const endedMs = monotonicMs();
    const durationMs = endedMs - invocation.startedMs;
    const peak = peakKib(endedMs);
    const tail = this.#options.log.end(durationMs, peak, () =>
      this.#report(invocation.invoke, durationMs, peak),
    );
    const type = invocation.stream?.started === true ? frameType.streamEnd : frameType.result;
    const summary = { outcome: result, durationMicros: Math.round(durationMs * 1000), peakKib: peak };
    // Other gateways first: whoever has the answer may call again, through one of them.
    this.#unanswered.add(invocation.link, -1);
    invocation.link.sendEncoded(encodeResultFrame(type, invocation.id, summary, tail, body));
    this.#options.links.holdLoop(true);
    this.#current = undefined;
    if (this.#turnsComing === 0) this.#askForTurn();
  }

  #report({ requestId, memoryMb }: Invoke, durationMs: number, peak: number): string {
    let init = '';
    if (!this.#reportedInit) {
      this.#reportedInit = true;
      init = `Init Duration: ${this.#options.initMs.toFixed(2)} ms\t`;
    }
    return (
      `END RequestId: ${requestId}\n` +
      `REPORT RequestId: ${requestId}\tDuration: ${durationMs.toFixed(2)} ms\tBilled Duration: ${Math.ceil(durationMs)} ms\t` +
      `Memory Size: ${this.#options.memoryLimit.at(memoryMb)} MB\tMax Memory Used: ${Math.ceil(peak / 1024)} MB\t${init}\n`
    );
  }

  #setTraceId(traceId: string): void {
    if (traceId === this.#traceId) return;
    this.#traceId = traceId;
    if (traceId === '') delete process.env['_X_AMZN_TRACE_ID'];
    else process.env['_X_AMZN_TRACE_ID'] = traceId;
  }
}

function describe(thrown: unknown): { errorType: string; errorMessage: string; stack: readonly string[] } {
  const { errorType, errorMessage, trace } = toInvocationError(thrown);
  return { errorType, errorMessage, stack: trace };
}
