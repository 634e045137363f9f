// The fleet's configuration: what the supervisor passes, validated, and the constants of its policies with their reasons.
// Owns no behaviour.
import { z } from 'zod';
import { gib, mib } from '../../base/quantity.ts';
import { resources } from '../../protocol/schemas.ts';

/**
 * Who may be together in one virtual machine. `none`: an instance has one for itself; `tenant`: a tenant's instances
 * may share; `all`: also those of several tenants, isolated from each other as on the host.
 */
export const sharingModes = ['none', 'tenant', 'all'] as const;
export type Sharing = (typeof sharingModes)[number];

export const fleetConfig = z.object({
  dataDirectory: z.string().startsWith('/'),
  /** The one resource group that is ours. */
  cgroupRoot: z.string().min(1),
  /** Where Bellows itself answers, for instances that call it. */
  port: z.number().int(),
  /** Instances run on this machine too, and its agent is asked for those. */
  hostToo: z.boolean().default(false),
  units: z.object({
    /** What each is provisioned with; an instance may ask for any part of it. */
    size: resources,
    /** `auto`: KVM where it makes progress, translated code elsewhere. */
    accelerator: z.enum(['auto', 'kvm', 'tcg']),
    /** A directory with an image of the operator's own; null for the one that is built. */
    image: z.string().startsWith('/').nullable(),
    sharing: z.enum(sharingModes),
    /** The subnet of the machines' bridge; null for the first that is free. */
    subnet: z.string().nullable(),
    /** At most so many clones are kept ready. */
    poolMaximum: z.number().int().nonnegative(),
  }),
});
export type FleetConfig = z.infer<typeof fleetConfig>;

/** Beside the group of this machine's agent, also where there is none: each ends all that is in its own. */
export const fleetCgroupRoot = (cgroupRoot: string): string => `${cgroupRoot}-vm`;

export interface FleetTuning {
  /** Memory of the host that no unit may begin to eat: the kernel and everybody else need it. As in src/controller/config.ts. */
  readonly hostReserveBytes: number;
  /** What a clone costs before it serves anybody: 40 MiB of its own were measured, and QEMU. */
  readonly cloneBytes: number;
  /** How long a start waits for its turn and a unit; less than the controller gives a start in all. */
  readonly acquireTimeoutMs: number;
  /** A start that takes longer than most do does not keep others from beginning. */
  readonly startTurnMs: number;
  /** Longer than an agent lets any start take, translated as its clock may be. */
  readonly guestStartTimeoutMs: number;
  /** A guest that says nothing for so long hangs. An emulated one, busy with a start on a loaded machine, takes seconds. */
  readonly hungAfterMs: number;
  /**
   * A process that was asked something and did nothing at all for so long is hung, however loaded the machine is: a starved
   * one is seen waiting for the processor (pulse.ts).
   */
  readonly standstillMs: number;
  /** Beyond an instance's grace: its agent kills it and removes its groups. */
  readonly stopAnswerMs: number;
  /** What a guest that answers other things has beyond that: at a load of ten a processor, stops took half a minute. */
  readonly stopSlowMs: number;
  /** Beyond their grace, when all are ended with their machines: an emulated guest's word that all is done takes a second. */
  readonly closeAnswerMs: number;
  /** Between two pings of a unit, which also set its clock: an emulated guest's drifts by some ms a second. */
  readonly pingMs: number;
  /** An agent that was killed inside is back within this: it starts anew in 5 to 8 s under emulation, ten times that on a loaded machine. */
  readonly reconnectMs: number;
  /** Before another clone is tried after one failed, and the longest pause. */
  readonly cloneRetryFirstMs: number;
  readonly cloneRetryLongestMs: number;
  /** What an idle instance keeps for itself when its frozen unit is claimed down: its next invocation begins at once. */
  readonly idleSpareBytes: number;
  /** What is left free in a unit whose instances run when it is claimed on request: what an emulated guest touches in a second. */
  readonly runningSpareBytes: number;
  /** Whoever asks for a claim is answered after this with what it has come to. */
  readonly reclaimWaitMs: number;
  /** A frozen unit is claimed down after this: most that are called again are called sooner. */
  readonly idleClaimMs: number;
  /** So often is looked whether connections wait for a hibernated unit: 0.1 ms of reading, a few more with 10,000 sockets. */
  readonly knockMs: number;
  /** A hibernated unit that could not wake is tried again after this, while somebody waits. */
  readonly wakeRetryMs: number;
  /** A claim that was not complete is tried again after this. */
  readonly settleMs: number;
  /** Growth for which there is no room looks for some after this: reading the host's memory costs nothing. */
  readonly growthRetryMs: number;
  /** After an emergency release nothing is claimed for so long, doubling with each that follows, up to the longest. */
  readonly calmFirstMs: number;
  readonly calmLongestMs: number;
  /** What is left in a unit's log when it ends is worth waiting this long for. */
  readonly lastLogsMs: number;
}

export const defaultTuning: FleetTuning = {
  hostReserveBytes: 512 * mib,
  cloneBytes: 96 * mib,
  acquireTimeoutMs: 90_000,
  startTurnMs: 30_000,
  guestStartTimeoutMs: 120_000,
  hungAfterMs: 45_000,
  standstillMs: 15_000,
  stopAnswerMs: 15_000,
  stopSlowMs: 75_000,
  closeAnswerMs: 3_000,
  pingMs: 10_000,
  reconnectMs: 90_000,
  cloneRetryFirstMs: 1_000,
  cloneRetryLongestMs: 60_000,
  idleSpareBytes: 16 * mib,
  runningSpareBytes: 64 * mib,
  reclaimWaitMs: 10_000,
  idleClaimMs: 10_000,
  knockMs: 250,
  wakeRetryMs: 2_000,
  settleMs: 5_000,
  growthRetryMs: 500,
  calmFirstMs: 10_000,
  calmLongestMs: 300_000,
  lastLogsMs: 3_000,
};

/** One unit's default memory: room for most functions, and for an app that grows. */
export const defaultUnitMemoryBytes = 1 * gib;
/** Lambda's default for /tmp twice over, for code and logs lie on the same disk. */
export const defaultUnitStorageBytes = 1 * gib;
/** More virtual processors than this are a burden to an emulated kernel, and few workloads use them. */
export const mostUnitCpus = 4;
/** Clones that are kept ready at most: each costs what 40 MiB of memory of its own do. */
export const defaultPoolMaximum = 2;

/**
 * Instances that start at once, for each of the host's processors. Under emulation a start keeps one busy for seconds; with KVM
 * it mostly waits for the guest's kernel and disk.
 */
export const startsAtOncePerCpu = { tcg: 1, kvm: 4 } as const;

/** Of the processor, what QEMU itself and the agent inside need beside what instances are granted. */
export const unitCpuOverheadMillicores = 250;
