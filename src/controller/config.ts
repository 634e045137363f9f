// The controller's configuration: what the supervisor passes, validated, and the constants of its policies with
// their reasons. Owns no behaviour.
import { z } from 'zod';
import { hostKeepAlive, virtualKeepAlive, type KeepAlive } from '../allocator/arrivals/keeping.ts';
import { defaultVictimPolicy } from '../allocator/reclaim/victims.ts';
import { mib } from '../base/quantity.ts';
import type { UnitKind } from '../model/unit-kind.ts';

export const controllerConfig = z.object({
  dataDirectory: z.string().min(1),
  port: z.number().int().min(0).max(65_535),
  host: z.string().min(1),
  network: z.enum(['host', 'none']),
  cgroupRoot: z.string().min(1),
  /** Given where instances run in virtual machines: then the agent answers for those, and is none of them itself. */
  units: z.looseObject({}).optional(),
  /** Given with those: instances run on this machine too, and one agent answers for all. */
  hostToo: z.boolean().default(false),
  /** The most warm processes that the agent keeps ready; 0 for none. */
  poolMaximum: z.number().int().nonnegative().optional(),
  /** The most memory that may be granted in all, if the operator said so. */
  memoryBytes: z.number().int().positive().optional(),
  /** How long functions' idle instances stay, instead of what is learned. */
  keepAliveMs: z.number().int().positive().optional(),
  /** Virtual machines in which nothing happened for so long are put on disk; without it none is while memory is not needed. */
  hibernateAfterMs: z.number().int().positive().optional(),
});
export type ControllerConfig = z.infer<typeof controllerConfig>;

/** Policies that a test or an operator may set otherwise. All times in milliseconds. */
export interface Tuning {
  /**
   * Memory granted in all may be this many times the unit's memory. Grants are ceilings: an idle Node instance of
   * 128 MiB stands at about 50 MiB, so that 1.5 leaves a quarter of real room at typical use.
   */
  readonly oversubscription: number;
  /** Memory that may be granted in all, where that is to be less than `oversubscription` says; null: as much as that. */
  readonly grantableBytes: number | null;
  /** Memory of the host that no new instance may begin to eat, whatever the grants say: the kernel needs room to reclaim in. */
  readonly hostReserveBytes: number;
  /** First pause before a crashed app starts again, and the longest: one try a minute costs nothing and is soon enough noticed. */
  readonly restartFirstMs: number;
  readonly restartLongestMs: number;
  /** An app that ran this long was well: its next crash starts the back-off anew. Ten times the first pause. */
  readonly restartForgetMs: number;
  /** How long a function's instance that serves nothing stays: as its calls come, or as somebody named it. */
  readonly keepAlive: KeepAlive;
  /** The same in virtual machines. */
  readonly machineKeepAlive: KeepAlive;
  /** Reclaim asks those first that served nothing for so long, and ends no function that idles for less. */
  readonly reclaimIdleMs: number;
  /** A virtual machine in which nothing happened for so long may be put on disk when its memory is needed. */
  readonly hibernateIdleMs: number;
  /** And for so long, is put there also when nobody needs it; null: never. */
  readonly hibernateAfterMs: number | null;
  /** How long a change waits for a gateway to tell, where none is connected: it connects again within half a second. */
  readonly gatewayArrivalMs: number;
  /** How often idle instances, pool and accounts are looked at. */
  readonly tickMs: number;
  /** What an app's instance is given to end by itself; container engines give 10 s. */
  readonly appGraceMs: number;
  /** What a function's instance is given; Lambda's shutdown phase is at most 2 s. */
  readonly functionGraceMs: number;
  /** How long a start may take in all; Lambda's init phase has 10 s, an app's server may need longer. */
  readonly startTimeoutMs: number;
  /** The same in virtual machines. */
  readonly machineStartTimeoutMs: number;
  /**
   * Pauses before the first and the second retry of a failed asynchronous invocation. Lambda waits one and two
   * minutes because it serves a fleet; on one machine a quarter of that passes most outages and is bearable to watch.
   */
  readonly asyncRetryMs: readonly number[];
  /** Pauses while a function is throttled or unavailable: Lambda's 1 s growing to 5 minutes. */
  readonly asyncThrottleFirstMs: number;
  readonly asyncThrottleLongestMs: number;
  /** An event older than this is given up; Lambda's six hours. */
  readonly asyncMaxAgeMs: number;
}

/** An emulated virtual machine runs a start's code ten to twenty times slower than this machine does. */
export const virtualStartTimeoutMs = 180_000;

export const defaultTuning: Tuning = {
  oversubscription: 1.5,
  grantableBytes: null,
  hostReserveBytes: 256 * mib,
  restartFirstMs: 1_000,
  restartLongestMs: 60_000,
  restartForgetMs: 10_000,
  keepAlive: hostKeepAlive,
  machineKeepAlive: virtualKeepAlive,
  reclaimIdleMs: defaultVictimPolicy.idleThresholdMs,
  // To disk and back takes a second or two: a pause of a person who reads a page is shorter.
  hibernateIdleMs: 60_000,
  hibernateAfterMs: null,
  gatewayArrivalMs: 1_000,
  tickMs: 1_000,
  appGraceMs: 10_000,
  functionGraceMs: 2_000,
  startTimeoutMs: 60_000,
  machineStartTimeoutMs: virtualStartTimeoutMs,
  asyncRetryMs: [15_000, 30_000],
  asyncThrottleFirstMs: 1_000,
  asyncThrottleLongestMs: 300_000,
  asyncMaxAgeMs: 6 * 3_600_000,
};

/** What holds in one controller. @param overrides a test's, which win */
export function tuningOf(
  { memoryBytes, keepAliveMs, hibernateAfterMs }: ControllerConfig,
  overrides: Partial<Tuning> = {},
): Tuning {
  return {
    ...defaultTuning,
    ...(memoryBytes === undefined ? {} : { grantableBytes: memoryBytes }),
    ...(keepAliveMs === undefined ? {} : fixedKeepAlive(keepAliveMs)),
    ...(hibernateAfterMs === undefined
      ? {}
      : {
          hibernateAfterMs,
          // What goes by itself after less than that goes as soon for others, too.
          hibernateIdleMs: Math.min(defaultTuning.hibernateIdleMs, hibernateAfterMs),
        }),
    ...overrides,
  };
}

function fixedKeepAlive(keptMs: number): Pick<Tuning, 'keepAlive' | 'machineKeepAlive'> {
  const keepAlive: KeepAlive = { type: 'fixed', keptMs };
  return { keepAlive, machineKeepAlive: keepAlive };
}

/** How long a function's idle instance stays, by what it is in. */
export function keepAliveIn(
  kind: UnitKind,
  tuning: Pick<Tuning, 'keepAlive' | 'machineKeepAlive'>,
): KeepAlive {
  return kind === 'vm' ? tuning.machineKeepAlive : tuning.keepAlive;
}

/** How long a start may take in all, by what it is in. */
export function startTimeoutIn(
  kind: UnitKind,
  tuning: Pick<Tuning, 'startTimeoutMs' | 'machineStartTimeoutMs'>,
): number {
  return kind === 'vm' ? tuning.machineStartTimeoutMs : tuning.startTimeoutMs;
}
