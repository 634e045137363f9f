// What commands read of /v1's answers: no more than they show, so that a newer Bellows with more fields is no stranger.
// The whole shapes are src/api/v1/views; `--json` prints answers as they came.
import { z } from 'zod';
import { changeStatuses } from '../model/change.ts';

const holding = z.object({ demand: z.string(), grant: z.string(), used: z.string(), claimed: z.string() });

export const instances = z.array(
  z.looseObject({
    id: z.string(),
    tenant: z.string(),
    workload: z.string(),
    unit: z.string(),
    state: z.string(),
    pid: z.number(),
    connections: z.number(),
    memory: holding,
    cpu: holding,
  }),
);
export type Instances = z.infer<typeof instances>;

export const workload = z.looseObject({
  kind: z.string(),
  tenant: z.string(),
  name: z.string(),
  path: z.string(),
  /** Of an app whose instances fail. */
  restart: z.looseObject({ failures: z.number(), reason: z.string(), nextStartAt: z.string() }).nullish(),
});

const limit = z.string().nullable();
const limits = z.object({
  memory: limit,
  cpu: limit,
  storage: limit,
  bandwidth: limit,
  connections: z.number().nullable(),
  concurrency: z.number().nullable(),
  requests: z.number().nullable(),
});

export const tenant = z.looseObject({
  id: z.string(),
  weight: z.number(),
  limits,
  /** Null when no gateway says so. */
  inUse: z.object({ connections: z.number(), concurrency: z.number(), requests: z.number() }).nullable(),
  /** Byte-seconds. */
  metering: z.object({
    own: z.number(),
    borrowed: z.number(),
    lent: z.number(),
    unused: z.number(),
    credit: z.number(),
  }),
  accessKeyId: z.string(),
  secretAccessKey: z.string().optional(),
});
export const tenants = z.array(tenant);

/** A quantity in notation, or a number of what gateways count. */
const amount = z.union([z.string(), z.number()]).nullable();
const change = z.looseObject({
  resource: z.string(),
  before: amount,
  after: amount,
  wanted: amount,
  status: z.enum(changeStatuses),
  reason: z.string(),
});

export const transaction = z.looseObject({
  status: z.enum(changeStatuses),
  reason: z.string(),
  plan: z.boolean(),
  durationMs: z.number(),
  connections: z.object({ open: z.number(), kept: z.number(), dropped: z.number() }),
  tenants: z.array(z.looseObject({ tenant: z.string(), changes: z.array(change) })),
  instances: z.array(z.looseObject({ instance: z.string(), workload: z.string(), changes: z.array(change) })),
});
export type Transaction = z.infer<typeof transaction>;

const size = z.looseObject({ memory: z.string(), cpu: z.string(), storage: z.string() });

export const units = z.array(
  z.looseObject({
    id: z.string(),
    driver: z.string(),
    state: z.string(),
    tenant: z.string().nullable(),
    pid: z.number().nullable(),
    instances: z.number(),
    provisioned: size,
    claimed: size,
    granted: size,
    used: size,
    host: z
      .looseObject({ memory: z.string(), groupMemory: z.string().nullable(), storage: z.string() })
      .nullable(),
    capabilities: z
      .looseObject({
        cgroup: z.string(),
        sandbox: z.string(),
        notEnforced: z.array(z.object({ what: z.string(), why: z.string(), solve: z.string() })),
      })
      .nullable(),
  }),
);

export const gateways = z.array(
  z.looseObject({
    gateway: z.number(),
    pid: z.number(),
    state: z.string(),
    connections: z.number().nullable(),
  }),
);

export const hibernation = z.looseObject({
  unit: z.string(),
  before: z.string(),
  after: z.string(),
  stored: z.string(),
  durationMs: z.number(),
});

export const moved = z.looseObject({
  unit: z.string(),
  pid: z.number(),
  copied: z.string(),
  pauseMs: z.number(),
  durationMs: z.number(),
});

export const movedWorkload = z.looseObject({
  workload: z.string(),
  from: z.string(),
  to: z.string(),
  durationMs: z.number(),
});

export const woken = z.looseObject({ unit: z.string(), durationMs: z.number() });

export const ledger = z.array(
  z.looseObject({
    resource: z.string(),
    capacity: z.string(),
    granted: z.string(),
    used: z.string(),
    claimed: z.string(),
    unallocated: z.string(),
    oversubscribed: z.string(),
    tenants: z.array(z.looseObject({ tenant: z.string(), limit, granted: z.string(), used: z.string() })),
  }),
);

export const reclaimReport = z.looseObject({
  planned: z.boolean(),
  wanted: limit,
  found: z.string(),
  claimed: z.string(),
  missing: z.string(),
  freed: z.string(),
  durationMs: z.number(),
  connections: z.object({ open: z.number(), kept: z.number(), dropped: z.number() }),
  from: z.array(
    z.looseObject({
      instance: z.string(),
      workload: z.string(),
      how: z.string(),
      before: z.string(),
      after: z.string(),
      claimed: z.string(),
    }),
  ),
});

export const logs = z.object({
  entries: z.array(z.looseObject({ time: z.string(), instance: z.string(), line: z.string() })),
  cursor: z.string(),
});

export const event = z.looseObject({
  time: z.string(),
  type: z.string(),
  tenant: z.string().nullable(),
  workload: z.string().nullable(),
  message: z.string(),
});
