// What is said on an instance's socket (`run/i/ID/s.sock`), by the agent and the gateway to the runtime inside.
// Frames as in src/base/frame.ts. Owns frame types and the layout of payloads. Imported by the runtime inside
// the sandbox: no npm package, no I/O. What comes from the instance is user code's word and never trusted.
// Buffer is imported, since beside user code the global may be anything.
import { Buffer } from 'node:buffer';
import { frameHeaderBytes, writeFrameHeader } from '../base/frame.ts';
import type { FormattedResources } from '../model/resources.ts';

/**
 * Where a runtime finds the listening socket that frames go over. Whoever starts it has made the socket: it can be connected
 * to, and sent a bind, before the runtime runs.
 */
export const framesDescriptor = 3;
/** The socket that frames go over, the one that descriptors are handed over, and the app's own server. */
export const instanceSockets = { frames: 's.sock', handover: 'h.sock', http: 'http.sock' } as const;
/** Files in the instance's run directory, seen inside at /run/bellows. */
export const grantFileName = 'grant.json';
/** Where the run directory is inside the sandbox. */
export const insideRunDirectory = '/run/bellows';
export const insideTaskDirectory = '/var/task';

export const frameType = {
  /** agent → instance: {@link BindRequest} as JSON; answered by `bound` or `bindFailed` with the same id. */
  bind: 1,
  bound: 2,
  /** Payload: JSON {@link InvocationError}. */
  bindFailed: 3,
  /**
   * gateway → instance: run the handler once; layout in {@link encodeInvoke}. Run strictly in the order received. What comes
   * before the instance serves waits in it, and is never run when the bind fails or its link ends first.
   */
  invoke: 4,
  /** instance → gateway: the buffered answer; layout in {@link encodeResult}. Ends the invocation. */
  result: 5,
  /** instance → gateway: a streamed answer begins; JSON {@link StreamPrelude}. */
  streamStart: 6,
  streamChunk: 7,
  /** Ends a streamed invocation; same layout as `result`, an empty body when it went well. */
  streamEnd: 8,
  /** gateway → instance: a descriptor with the request's bytes waits on the handover socket. Id: the connection's number. */
  handover: 9,
  /** agent → instance: JSON {@link GrantNotice}; answered by `grantAck` with the same id once the app has been told. */
  grant: 10,
  grantAck: 11,
  /** agent → instance: collect garbage now, give memory back; answered by `trimmed`: JSON {@link TrimResult}. */
  trim: 12,
  trimmed: 13,
  /** instance → every agent and gateway link: JSON ConnectionCounts, at most every 50 ms, on change. */
  connections: 14,
  /** agent → instance: stop accepting, let what runs end, then exit. */
  shutdown: 15,
  /** instance → agent: an app's server listens. Also sent to each new link when it already does. */
  listening: 16,
  /** Either side, answered with `pong` and the same id. */
  ping: 17,
  pong: 18,
  /** agent → instance: JSON {@link Proceed}. Everything is in place that a gated `bind` waits for; user code may load now. */
  proceed: 19,
  /** instance → every link: a function is bound and begins with what waits. Also sent to each new link when it already is. */
  serving: 20,
  /**
   * gateway → instance: nobody takes the streamed answer to the invocation with this id any more. One that has not begun is not
   * run; one that runs is sent nothing of, and its handler's stream is closed. Either is answered all the same, in its turn.
   */
  abandon: 21,
  /** gateway → instance: tell me from now on how many invocations of others you have; answered by `elsewhere` once it serves. */
  watch: 22,
  /**
   * instance → watching link: u32, how many invocations it has unanswered that came over other links, of which some may have
   * ended. Sent at each change. So two gateways never take the same instance for idle.
   */
  elsewhere: 23,
} as const;

/** What the runtime needs to become a workload's instance. */
export interface BindRequest {
  readonly instance: string;
  /** Prepare, but load no user code before `proceed`: the process is still being moved into its group. */
  readonly gated?: boolean;
  readonly kind: 'function' | 'app';
  readonly uid: number;
  readonly gid: number;
  /** `index.handler` for a function. */
  readonly handler: string | null;
  /** For an app: the script and its arguments, relative to the task directory. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly taskDirectory: string;
  readonly timeoutMs: number;
  readonly grant: GrantNotice;
  readonly function: FunctionIdentity | null;
}

export interface Proceed {
  /** Memory charged to another group than the instance's own: a figure of its use is that of its group and this. */
  readonly chargedBeforeBytes: number;
}

export interface FunctionIdentity {
  readonly name: string;
  readonly version: string;
  readonly arn: string;
  readonly memoryMb: number;
  readonly logGroup: string;
  readonly logStream: string;
}

/** E5: what the instance may use. The file, the Runtime API and the frame hold the same. */
export interface GrantNotice extends FormattedResources {
  /** Counts up with every change. */
  readonly generation: number;
  /** `changing`: this is what it is about to become, free what you can; `current`: it is so now. */
  readonly phase: 'changing' | 'current';
  readonly memoryBytes: number;
  readonly cpuMillicores: number;
  readonly storageBytes: number;
  readonly bandwidthBytesPerSecond: number;
}

export interface TrimResult {
  readonly beforeBytes: number;
  readonly afterBytes: number;
  readonly pauseMs: number;
}

/** Lambda's error payload. */
export interface InvocationError {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly trace: readonly string[];
}

export interface StreamPrelude {
  readonly contentType: string;
  readonly statusCode?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cookies?: readonly string[];
}

/**
 * A handler's write is sent in frames of at most this: what is on its way between a handler and a slow client stays small. With its
 * header such a frame is what a socket is read by at once, so that none needs to be put together of two.
 */
export const streamPieceBytes = 64 * 1024 - frameHeaderBytes;
/** Lambda's quotas for what a function answers: 6 MB and what AWS adds around it, and 200 MB of a streamed answer. */
export const answerLimits = { bufferedBytes: 6_291_556, streamedBytes: 200 * 1024 * 1024 } as const;

/** The words for an answer that is larger, as AWS has them. */
export function answerTooLargeMessage(limitBytes: number): string {
  return `Response payload size exceeded maximum allowed payload size (${limitBytes} bytes).`;
}

/** How AWS says in the content type that a JSON prelude, ended by eight zero bytes, comes before the body. */
export const integrationContentType = 'application/vnd.awslambda.http-integration-response';
const { stringify } = JSON;

/** What comes before a streamed body where the caller is given no head of an HTTP answer; empty when nothing does. */
export function integrationPrelude({ contentType, statusCode, headers, cookies }: StreamPrelude): string {
  return contentType === integrationContentType
    ? stringify({ statusCode, headers, cookies }) + '\0'.repeat(8)
    : '';
}

export const invokeFlag = {
  /** Return the last 4 KiB of this invocation's log with the result. */
  logTail: 1,
  /** The caller takes a stream: send `streamStart`, chunks and `streamEnd` if the handler streams. */
  stream: 2,
} as const;

/** RFC 4122 text form. */
const requestIdBytes = 36;
const invokeFixedBytes = 8 + 4 + 1 + requestIdBytes + 2;

export interface InvokeHeader {
  /**
   * How long the handler may take from its start. No point in time: a virtual machine's clock is milliseconds off its host's,
   * and who waits in the instance for another to end has not started.
   */
  readonly timeoutMs: number;
  /** The function's MemorySize, in MiB, when the invocation was sent. */
  readonly memoryMb: number;
  readonly flags: number;
  readonly requestId: string;
  /** JSON of `{clientContext?, identity?, traceId?}`, or empty. */
  readonly extra: string;
}

/** Payload of `invoke`: f64 time-out, u32 MiB, u8 flags, request id, u16 length of extra, extra, event. The event is the rest. */
export function invokePrefixBytes(extra: string): number {
  return invokeFixedBytes + Buffer.byteLength(extra);
}

/** Writes everything but the event; returns the offset where the event goes. */
export function writeInvokePrefix(target: Buffer, offset: number, header: InvokeHeader): number {
  target.writeDoubleLE(header.timeoutMs, offset);
  target.writeUInt32LE(header.memoryMb, offset + 8);
  target.writeUInt8(header.flags, offset + 12);
  target.write(header.requestId, offset + 13, requestIdBytes, 'latin1');
  const extraBytes = header.extra === '' ? 0 : target.write(header.extra, offset + invokeFixedBytes, 'utf8');
  target.writeUInt16LE(extraBytes, offset + 13 + requestIdBytes);
  return offset + invokeFixedBytes + extraBytes;
}

export interface Invoke extends InvokeHeader {
  readonly event: Buffer;
}

/** @throws RangeError when the payload is shorter than it says. */
export function decodeInvoke(payload: Buffer): Invoke {
  const extraBytes = payload.readUInt16LE(13 + requestIdBytes);
  const eventAt = invokeFixedBytes + extraBytes;
  if (eventAt > payload.length) throw new RangeError('an invoke frame is shorter than it says');
  return {
    timeoutMs: payload.readDoubleLE(0),
    memoryMb: payload.readUInt32LE(8),
    flags: payload.readUInt8(12),
    requestId: payload.toString('latin1', 13, 13 + requestIdBytes),
    extra: extraBytes === 0 ? '' : payload.toString('utf8', invokeFixedBytes, eventAt),
    event: payload.subarray(eventAt),
  };
}

/** How the handler ended: `ok`, it threw or rejected, or the process can not go on (it exits after sending this). */
export const outcome = { ok: 0, handled: 1, fatal: 2 } as const;
export type Outcome = (typeof outcome)[keyof typeof outcome];

const resultFixedBytes = 1 + 4 + 4 + 2;

export interface Result {
  readonly outcome: Outcome;
  readonly durationMicros: number;
  /** The instance's highest memory charge in this invocation, as it could read it; 0 if it could not. */
  readonly peakKib: number;
  /** The last 4 KiB of the log when asked for. */
  readonly logTail: Buffer;
  /** JSON: the handler's value, or an {@link InvocationError}. */
  readonly body: Buffer;
}

/** What a result says beside its log and body. */
export type ResultSummary = Pick<Result, 'outcome' | 'durationMicros' | 'peakKib'>;

/** Payload of `result` and `streamEnd`: u8 outcome, u32 µs, u32 KiB, u16 tail length, tail, body. */
export function encodeResult(summary: ResultSummary, logTail: Uint8Array, body: string | Uint8Array): Buffer {
  return encodeResultFrame(frameType.result, 0, summary, logTail, body).subarray(frameHeaderBytes);
}

/** The same as a whole frame: the body, which may be long, is copied once. */
export function encodeResultFrame(
  type: number,
  id: number,
  summary: ResultSummary,
  logTail: Uint8Array,
  body: string | Uint8Array,
): Buffer {
  const bodyBytes = typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength;
  const payloadBytes = resultFixedBytes + logTail.byteLength + bodyBytes;
  const frame = Buffer.allocUnsafe(frameHeaderBytes + payloadBytes);
  writeFrameHeader(frame, 0, type, id, payloadBytes);
  frame.writeUInt8(summary.outcome, frameHeaderBytes);
  frame.writeUInt32LE(Math.min(summary.durationMicros, 0xffffffff), frameHeaderBytes + 1);
  frame.writeUInt32LE(Math.min(summary.peakKib, 0xffffffff), frameHeaderBytes + 5);
  frame.writeUInt16LE(logTail.byteLength, frameHeaderBytes + 9);
  const tailAt = frameHeaderBytes + resultFixedBytes;
  if (logTail.byteLength > 0) frame.set(logTail, tailAt);
  const bodyAt = tailAt + logTail.byteLength;
  if (typeof body === 'string') frame.write(body, bodyAt, 'utf8');
  else frame.set(body, bodyAt);
  return frame;
}

const noTail = Buffer.alloc(0);

/** @throws RangeError when the payload is shorter than it says: the instance sent nonsense. */
export function decodeResult(payload: Buffer): Result {
  const tailBytes = payload.readUInt16LE(9);
  const bodyAt = resultFixedBytes + tailBytes;
  if (bodyAt > payload.length) throw new RangeError('a result frame is shorter than it says');
  const code = payload.readUInt8(0);
  return {
    outcome: code === outcome.ok ? outcome.ok : code === outcome.handled ? outcome.handled : outcome.fatal,
    durationMicros: payload.readUInt32LE(1),
    peakKib: payload.readUInt32LE(5),
    logTail: tailBytes === 0 ? noTail : payload.subarray(resultFixedBytes, bodyAt),
    body: payload.subarray(bodyAt),
  };
}

/** Payload of `elsewhere`. */
export function encodeElsewhere(count: number): Buffer {
  const payload = Buffer.allocUnsafe(4);
  payload.writeUInt32LE(count);
  return payload;
}

/** @throws RangeError when the payload is too short */
export function decodeElsewhere(payload: Buffer): number {
  return payload.readUInt32LE(0);
}
