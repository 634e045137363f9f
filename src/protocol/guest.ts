// What the agent in a virtual machine can be asked beyond what every agent can, and what it tells: its unit's identity,
// what is reclaimable inside, and claims. Spoken over the unit's serial port; the caller is the process that owns the unit.
import { z } from 'zod';
import { mib } from '../base/quantity.ts';
import { agentProtocol, shortage } from './agent.ts';
import { method, nothing, type Protocol } from './rpc.ts';
import { instanceId, unitId } from './schemas.ts';

const bytes = z.number().nonnegative();

/** What a clone must get anew before user code runs: nothing in it may be as in the template, or in another clone. */
export const identity = z.object({
  unit: unitId,
  /** Base64 of at least 64 random bytes, credited to the kernel's generator, from which every process then reseeds. */
  seed: z.string(),
  /** The host's time; the guest's stood still since the snapshot. */
  nowMs: z.number(),
  /** Opens the unit's door: see src/protocol/door.ts. */
  doorToken: z.string(),
  /** The device that the door is on; null with user networking, where QEMU gave it its address. */
  network: z.object({ mac: z.string(), address: z.string(), prefixLength: z.number() }).nullable(),
  /** Where Bellows itself answers on the host's loopback: served inside at the same address. Null: nowhere. */
  ownPort: z.number().int().nullable(),
});
export type Identity = z.infer<typeof identity>;

/** What is there and unclaimed, by kind: the identification process's answer. All of it in bytes. */
export const reclaimable = z.object({
  totalBytes: bytes,
  freeBytes: bytes,
  /** Clean page cache, that costs a read to have again. */
  cleanCacheBytes: bytes,
  /** Garbage, by estimate, in the managed heaps of idle instances. */
  garbageBytes: bytes,
  /** The part of the scratch file system that is free or was deleted and not trimmed yet. */
  idleStorageBytes: bytes,
  /** What the instances use now, by their groups. */
  usedBytes: bytes,
  instances: z.array(z.object({ id: instanceId, idle: z.boolean(), garbageBytes: bytes, cacheBytes: bytes })),
});
export type Reclaimable = z.infer<typeof reclaimable>;

/** A rung of the ladder that was climbed, and what it brought. */
export const trimStep = z.object({
  step: z.enum(['heaps', 'cache', 'storage', 'compact']),
  freedBytes: bytes,
  durationMs: z.number(),
});
export type TrimStep = z.infer<typeof trimStep>;

export const guestProtocol = {
  methods: {
    ...agentProtocol.methods,
    /** Makes a clone a unit of its own. Fails with Conflict when it is one already and the identity differs. */
    personalise: method(identity, z.object({ doorPort: z.number().int() })),
    /**
     * Does once, for nobody, what personalise does, and takes it back: in a template, so that no clone of it is the first to
     * run that code. Fails with Conflict in a unit that is somebody.
     */
    rehearse: method(nothing, nothing),
    readClock: method(nothing, z.object({ nowMs: z.number() })),
    /**
     * Moves the clock; the owner asks and moves again and again, since an emulated guest's drifts. By how much, not to what
     * time: this may come seconds after it was sent.
     */
    shiftClock: method(z.object({ byMs: z.number() }), nothing),
    identify: method(nothing, reclaimable),
    /**
     * Frees what is reclaimable, in the ladder's order, until `bytes` of memory are free for a claim or nothing is left;
     * touches no instance that is busy beyond its clean cache. The caller then inflates the balloon by no more than the answer.
     */
    makeClaimable: method(z.object({ bytes }), z.object({ claimableBytes: bytes, steps: z.array(trimStep) })),
    /** The part of the unit's memory that instances may have together: what is claimed is not to be had inside either. */
    setUsable: method(z.object({ memoryBytes: bytes }), nothing),
    /** Claims or releases scratch space, so that instances may store this much together, and trims what is free. */
    setStorage: method(
      z.object({ usableBytes: bytes }),
      z.object({ usableBytes: bytes, trimmedBytes: bytes }),
    ),
    /** Bytes per second, both directions, on what leads out of the unit; null: no limit. */
    setBandwidth: method(z.object({ bytesPerSecond: z.number().positive().nullable() }), nothing),
  },
  events: {
    ...agentProtocol.events,
    /** Memory is short inside: everything that is claimed of it is to be released at once. */
    pressure: shortage,
  },
} satisfies Protocol;
export type GuestProtocol = typeof guestProtocol;

/**
 * Of a unit's scratch disk, beyond what its instances may store: an instance's code (Lambda's 250 MB), logs, and what the
 * file systems of their scratch space take for themselves. Sparse: what is not written costs the host nothing.
 */
export const guestOwnStorageBytes = 320 * mib;

/** The serial port's name, in QEMU's arguments and under /dev/virtio-ports inside. */
export const guestPortName = 'bellows.agent';
