// The gateway's configuration as the supervisor passes it, and every bound it sets on clients, with its reason.
import type { UnitKind } from '../model/unit-kind.ts';
import { z } from 'zod';
import { answerLimits } from '../protocol/instance.ts';

/** The one JSON argument in `BELLOWS_CONFIG`. */
export const gatewayConfig = z.object({
  dataDirectory: z.string().min(1),
  port: z.number().int().min(0).max(65_535),
  host: z.string().min(1),
  /** Where TLS is served too. Without files, by certificates of the data directory's own authority. */
  tls: z
    .object({
      port: z.number().int().min(0).max(65_535),
      /** As `listenDescriptor`, of this port. */
      listenDescriptor: z.number().int().min(3).optional(),
      files: z.object({ certFile: z.string().min(1), keyFile: z.string().min(1) }).optional(),
    })
    .optional(),
  /** Addresses and networks of proxies whose `X-Forwarded-*` and `Forwarded` are believed. */
  trustedProxies: z.array(z.string()).optional(),
  /** How slowly a body may come that is read whole; {@link bodyLimits} says what is usual. */
  bodyFloor: z
    .object({ graceMs: z.number().int().min(0), bytesPerSecond: z.number().int().min(1) })
    .optional(),
  /** A listening socket of that port, which was inherited; without, it is made. */
  listenDescriptor: z.number().int().min(3).optional(),
  /** Where to write a line when it serves, and one when it leaves. */
  wordDescriptor: z.number().int().min(3).optional(),
  /** Which of the gateways that serve together this one is, and how many they are; without, it is the only one. */
  place: z.object({ index: z.number().int().nonnegative(), of: z.number().int().positive() }).optional(),
  /** Other gateways that run: they serve in other places, or finish what they carry. */
  beside: z.array(z.object({ pid: z.number().int(), startTicks: z.number().int() })).optional(),
  /** Accepts only when everything can be served: another serves until then. */
  whenReady: z.boolean().optional(),
  /** How long it may go on with what it carries once it was replaced; without, as long as that lasts. */
  leavingMs: z.number().int().positive().optional(),
  /** Given where instances run in virtual machines. */
  units: z.looseObject({}).optional(),
});
export type GatewayConfig = z.infer<typeof gatewayConfig>;

/** What a client may do to the listening server. */
export const serverLimits = {
  /** A head arrives in one packet as a rule; 20 s lets the slowest phone through and ends a slow-loris attack. */
  headersTimeoutMs: 20_000,
  /** A whole request, large uploads to apps included: Lambda's longest invocation, 15 minutes. */
  requestTimeoutMs: 900_000,
  /** Longer than the 60 s that load balancers keep idle connections, so that they close first and never into a request. */
  keepAliveTimeoutMs: 65_000,
  /** The same once another gateway serves, as node:http's own: who uses a connection asks sooner, and is told that it ends. */
  leavingKeepAliveMs: 5_000,
  /** Twice Node's default: apps with several large cookies are common; more is refused with 431. */
  maxHeaderBytes: 32 * 1024,
  /** How often the two time-outs above are looked at. */
  checkingIntervalMs: 2_000,
} as const;

/** How slowly a body may come that is read whole before anything is done with it. */
export interface BodyFloor {
  /** How long it may be silent. */
  readonly graceMs: number;
  readonly bytesPerSecond: number;
}

/** What a client may do with a body. */
export const bodyLimits = {
  /** Apache's `RequestReadTimeout body=20,MinRate=500`: the slowest phone is ten times as fast. */
  floor: { graceMs: 20_000, bytesPerSecond: 500 } satisfies BodyFloor,
  /** The most that one look at the pace counts: what the gateway itself was held up for is nobody else's slowness. */
  longestStepMs: 2_000,
  /** A second chunk's memory: one read of a socket. */
  firstBytes: 64 * 1024,
  /** Of a refused body: its sender reads the answer only after it has sent everything, as a rule. Beyond it the connection ends. */
  discardedBytes: 64 * 1024 * 1024,
  /** The same in time, once the answer is out: nginx's `lingering_time`. */
  discardedMs: 30_000,
} as const;

/** What a client may do to one connection of HTTP/2. */
export const http2Limits = {
  /** As nginx's and Apache's: more than a page loads at once. */
  maxStreams: 128,
  /** As node:http's own limit of headers. */
  maxHeaders: 2_000,
  /** Requests taken back at once, as a browser does that leaves a page, and each second after that ("rapid reset", CVE-2023-44487). */
  resetBurst: 500,
  resetsPerSecond: 50,
  /** Nobody needs two answers to pings at once, but for a client that measures. */
  maxOutstandingPings: 10,
  /** PING and SETTINGS, each of which is answered, within one checking interval: a client that measures its line sends some hundreds. */
  maxControlFrames: 1_000,
  /** What is received that answers, requests and their bodies do not explain. */
  unexplained: {
    /** The preface, settings, and whatever else a client says of itself: five thousand frames. */
    anywayBytes: 64 * 1024,
    /** The largest head, and a stream's window that is filled by DATA of one byte each, which nobody has read yet. */
    perRequestBytes: 32 * 1024 + 10 * 64 * 1024,
    /** DATA of one byte, ten with its frame's head, and some padding. */
    bytesPerByte: 16,
  },
  /** Frames that make no sense: a client that goes on after so many means no good. */
  maxInvalidFrames: 100,
  /** Streams opened beyond what was allowed. */
  maxRejectedStreams: 100,
  /** Of state and unsent bytes in MB, Node's default: a whole header list for every stream fits. */
  maxSessionMegabytes: 10,
} as const;

/** Lambda's quotas: "Invocation payload (request and response)" in its developer guide. */
export const payloadLimits = {
  /** 6 MB, synchronous. */
  requestBytes: 6 * 1024 * 1024,
  /** 1 MB, asynchronous: raised from 256 KB in October 2025. */
  eventBytes: 1024 * 1024,
  responseBytes: answerLimits.bufferedBytes,
  streamedResponseBytes: answerLimits.streamedBytes,
  /** `X-Amz-Client-Context` in the API reference of Invoke. */
  clientContextBytes: 3_583,
} as const;

/** How long the gateway waits for its agent's answers. */
export interface AgentPatience {
  /** Somebody's request waits for a thaw, also while an agent restarts. */
  readonly thawMs: number;
  /** A freeze is not worth waiting for. */
  readonly freezeMs: number;
  /** For the log of an invocation that broke: an instance that timed out is killed first, which takes some 100 ms with a GiB. */
  readonly tailMs: number;
}

export const defaultAgentPatience: AgentPatience = { thawMs: 5_000, freezeMs: 1_000, tailMs: 1_000 };

/** Of a guest whose processor is emulated, on a busy machine: what takes the host a tenth of a second takes it seconds. */
export const virtualAgentPatience: AgentPatience = { thawMs: 30_000, freezeMs: 10_000, tailMs: 10_000 };

/** How invocations are spread over instances. */
export interface InvokeTuning {
  /** How many may wait for one function: at 1 ms each that is a second's work, at 1 s more than anyone waits for. */
  readonly maxWaiting: number;
  /** Payload that may wait for one function: ten of the largest requests. */
  readonly maxWaitingBytes: number;
  /** How long a request waits for an instance: Lambda's init phase, which is the longest that a start may take. */
  readonly maxWaitMs: number;
  /** The most that may be sent ahead to one instance: enough for full batches; all of them are sent again if it dies. */
  readonly pipelineDepth: number;
  /** Nothing is sent behind more work than this: another process is woken sooner, even on a busy machine. */
  readonly aheadMaxMs: number;
  /** How long an instance idles before it is frozen: freezing costs a call and thawing 1 ms, so a client's pause for thought is waited out. */
  readonly freezeAfterMs: number;
  /** How long the reason of an instance's death is waited for before a general one is given. */
  readonly deathReasonMs: number;
  /** How often waiting requests and idle instances are looked at. */
  readonly recheckMs: number;
  readonly sweepMs: number;
  /** How long the controller has for one more instance: longer than it lets any start take, so that its answer says why. */
  readonly acquireTimeoutMs: number;
  /** What a start is taken to take before one was measured. */
  readonly firstStartMs: number;
  /** Pause after the controller could not start an instance: it freed nothing within a few milliseconds, as a rule. */
  readonly acquirePauseMs: number;
  /** How long a client of an app waits for an instance that takes it; then it is told to come again. */
  readonly appWaitMs: number;
  /** What is otherwise for functions that start on this machine itself, where others start in virtual machines. */
  readonly onHost?: Pick<InvokeTuning, 'maxWaitMs' | 'firstStartMs'>;
}

export const defaultInvokeTuning: InvokeTuning = {
  maxWaiting: 1_000,
  maxWaitingBytes: 64 * 1024 * 1024,
  maxWaitMs: 10_000,
  pipelineDepth: 32,
  aheadMaxMs: 0.5,
  freezeAfterMs: 2_000,
  deathReasonMs: 1_000,
  recheckMs: 20,
  sweepMs: 500,
  acquireTimeoutMs: 70_000,
  // From the warm pool.
  firstStartMs: 50,
  acquirePauseMs: 200,
  // An app that restarts after a crash is back within this, as a rule.
  appWaitMs: 10_000,
};

/** As long as a start may take, and as long as an app's machine that sleeps may take to wake. */
const virtualWaitMs = 120_000;

/**
 * An emulated machine's processor is ten to twenty times slower than this one's, and so is a cold start: who called gets
 * an answer late rather than none.
 */
export const virtualInvokeTuning: InvokeTuning = {
  ...defaultInvokeTuning,
  maxWaitMs: virtualWaitMs,
  appWaitMs: virtualWaitMs,
  deathReasonMs: 10_000,
  acquireTimeoutMs: 190_000,
  // Where a start takes less the first one says so; where it takes a minute, a guess of little starts a machine for each that waits.
  firstStartMs: 10_000,
  onHost: defaultInvokeTuning,
};

/** How a function's calls are spread, by where its instances start. */
export function tuningIn(tuning: InvokeTuning, kind: UnitKind | undefined): InvokeTuning {
  const { onHost } = tuning;
  if (kind !== 'host' || onHost === undefined) return tuning;
  return { ...tuning, maxWaitMs: onHost.maxWaitMs, firstStartMs: onHost.firstStartMs };
}

export const appLimits = {
  /** How long a hand-over waits for an instance that does not take the ones before it. */
  handoverWaitMs: 2_000,
  /** The controller restarts within a second; a request to it waits so long before it is refused. */
  waitForControllerMs: 5_000,
  /** Between tries while nothing listens: a server's start is watched closely, at fifty cheap tries a second. */
  retryPauseMs: 20,
} as const;

/** What gateways say to each other, and how one gets ready beside another. */
export const besideTiming = {
  /** A limit is exact to so much while several gateways carry; the next request of a client takes as long. */
  tellEveryMs: 50,
  /** The same of tenants that have a limit: what is counted within this is told at once, for a word costs as much as a request. */
  tellLimitedMs: 2,
  /** A link is made in a millisecond; who does not answer within this is not waited for. */
  patienceMs: 1_000,
  /** How often it is looked whether all is there, or all is done: somebody waits for the first. */
  lookEveryMs: 5,
} as const;

/** How long running requests are given when the gateway is told to stop. */
export const stopGraceMs = 10_000;
