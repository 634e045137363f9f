// What the owner of virtual machines tells of one: how it stands, what putting it on disk or moving it came to, what happened to it.
// Does not own how the owner speaks with the agent inside (guest.ts), nor the methods that ask for it (agent.ts).
import { z } from 'zod';
import { instanceId, resources, tenantId, unitId } from './schemas.ts';

/** A virtual machine, by its owner's word and by the host's own accounting of its process. */
export const unitMeasure = z.object({
  id: unitId,
  driver: z.string(),
  state: z.enum(['starting', 'warm', 'bound', 'hibernated', 'disconnected', 'stopping']),
  /** QEMU's number on the host; null while it is hibernated. */
  pid: z.number().int().nullable(),
  /** Null while it is warm, and in a unit that several tenants share. */
  tenant: tenantId.nullable(),
  provisioned: resources,
  claimed: resources,
  /** Memory of the process that no other shares, by the kernel (smaps). */
  hostPrivateBytes: z.number().nonnegative(),
  /** Memory charged to its group, by the kernel; null where there are no groups. */
  hostGroupBytes: z.number().nonnegative().nullable(),
  /** Connections into it would outlive its process: it can be put on disk. */
  mayHibernate: z.boolean(),
  /** Packets that went into it and came out of it, by the kernel; null where it has no address of its own. */
  carriedPackets: z.number().nonnegative().nullable(),
  /** Blocks that the host holds for its scratch file, and while it is hibernated for its state. */
  hostStorageBytes: z.number().nonnegative(),
});
export type UnitMeasure = z.infer<typeof unitMeasure>;

/** Memory of the unit's process that no other shares, by the kernel, and what of the disk is taken instead. */
export const hibernated = z.object({
  beforeBytes: z.number().nonnegative(),
  afterBytes: z.number().nonnegative(),
  storedBytes: z.number().nonnegative(),
  durationMs: z.number().nonnegative(),
});

/** Which process the unit is now, how long none was, and how much memory was copied from the one to the other. */
export const moved = z.object({
  pid: z.number().int(),
  pauseMs: z.number().nonnegative(),
  copiedBytes: z.number().nonnegative(),
  durationMs: z.number().nonnegative(),
});

/** What happened to a virtual machine, for the audit log: not each move of its balloon, but where a claim came to. */
export const unitEvent = z.object({
  unit: unitId,
  /** Null while it is nobody's, or several tenants'. */
  tenant: tenantId.nullable(),
  happened: z.discriminatedUnion('what', [
    z.object({
      what: z.literal('provisioned'),
      pid: z.number().int(),
      from: z.enum(['boot', 'template', 'snapshot']).nullable(),
      durationMs: z.number(),
    }),
    /** Memory, as a whole before and after; `why` is empty for what follows from grants. */
    z.object({
      what: z.enum(['claimed', 'released']),
      beforeBytes: z.number(),
      afterBytes: z.number(),
      why: z.string(),
    }),
    z.object({
      what: z.literal('lost'),
      instances: z.array(instanceId),
      code: z.string(),
      reason: z.string(),
    }),
    /** Its process is gone, and what it held is on disk; connections into it stay. */
    z.object({ what: z.literal('hibernated'), why: z.string(), ...hibernated.shape }),
    z.object({ what: z.literal('woken'), why: z.string(), durationMs: z.number() }),
    /** It goes on in another process; connections into it stay. */
    z.object({ what: z.literal('moved'), ...moved.shape }),
    z.object({ what: z.literal('stopped'), reason: z.string() }),
  ]),
});
export type UnitEvent = z.infer<typeof unitEvent>;
