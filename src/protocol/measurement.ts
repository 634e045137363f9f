// What an agent measures: its instances, their tenants, the warm pool, the host, and the virtual machines that it answers for.
import { z } from 'zod';
import { instanceId, instanceUsage, tenantId } from './schemas.ts';
import { unitMeasure } from './unit.ts';

export const measurement = z.object({
  atMs: z.number(),
  instances: z.array(
    z.object({
      id: instanceId,
      usage: instanceUsage,
      /** What it stores in its scratch space; absent where nobody can tell. */
      storageBytes: z.number().nonnegative().optional(),
      /**
       * What the kernel holds it to; null is "no limit of its own". Not in every measurement: they move when the agent
       * writes them, and reading them is not free.
       */
      limits: z
        .object({
          memoryBytes: z.number().nullable(),
          cpuMillicores: z.number().nullable(),
          storageBytes: z.number().nullable(),
        })
        .optional(),
    }),
  ),
  tenants: z.array(
    z.object({
      tenant: tenantId,
      memoryBytes: z.number(),
      memoryLimitBytes: z.number().nullable(),
      /** Absent where nothing is enforced, or nobody can tell. */
      cpuLimitMillicores: z.number().nullable().optional(),
      cpuUsageMicros: z.number(),
    }),
  ),
  pool: z.object({ ready: z.number(), memoryBytes: z.number() }),
  host: z.object({
    memoryAvailableBytes: z.number(),
    memoryTotalBytes: z.number(),
    /** Of the last ten seconds, in which some task waited for memory (PSI); null where the kernel does not say. */
    memoryPressurePercent: z.number().nullable(),
  }),
  /** The virtual machines that this agent answers for; none where it is the unit's own. */
  units: z.array(unitMeasure),
});
