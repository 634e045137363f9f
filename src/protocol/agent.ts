// What an agent can be asked and what it tells: the same protocol on the host and in a guest.
// Owns the methods and events, and what a start and a resize are told. Does not own what is measured (measurement.ts) and what is
// told of virtual machines (unit.ts).
// Callers: the controller (everything) and the gateway (freeze, thaw, stop: it alone knows what is idle).
import { z } from 'zod';
import { unitKinds } from '../model/unit-kind.ts';
import { measurement } from './measurement.ts';
import { method, nothing, type Protocol } from './rpc.ts';
import {
  connectionCounts,
  instanceChange,
  instanceId,
  instanceInfo,
  promisedResources,
  resources,
  runtimeName,
  tenantChange,
  tenantId,
  unitId,
  workloadKey,
} from './schemas.ts';
import { hibernated, moved, unitEvent } from './unit.ts';

export const agentProtocolVersion = 1;

/** What this agent's unit can enforce. `notEnforced` says in words what is missing, for `bellows doctor`. */
export const agentCapabilities = z.object({
  cgroup: z.enum(['v1', 'v2', 'none']),
  sandbox: z.enum(['bubblewrap', 'none']),
  memoryLimit: z.boolean(),
  cpuLimit: z.boolean(),
  freeze: z.boolean(),
  separateUsers: z.boolean(),
  warmPool: z.boolean(),
  notEnforced: z.array(z.object({ what: z.string(), why: z.string(), solve: z.string() })),
});
export type AgentCapabilities = z.infer<typeof agentCapabilities>;

export const agentHello = z.object({
  protocolVersion: z.number(),
  pid: z.number(),
  capabilities: agentCapabilities,
  /** The unit's whole quantity of each resource. */
  capacity: resources,
});

/** A tenant as the agent needs it: its group and its user. Null limits mean "no limit of its own". */
export const tenantSpec = z.object({
  tenant: tenantId,
  uid: z.number().int().positive(),
  memoryBytes: z.number().nullable(),
  cpuMillicores: z.number().nullable(),
  weight: z.number().positive(),
});
export type TenantSpec = z.infer<typeof tenantSpec>;

/** Everything needed to start an instance; kept in its handle so that a new agent can adopt it. */
export const instanceSpec = z.object({
  id: instanceId,
  tenant: tenantId,
  uid: z.number().int().positive(),
  workload: workloadKey,
  generation: z.string(),
  /** In what it is to run, where there are both; whoever has one kind alone does not look at it. */
  unitKind: z.enum(unitKinds).optional(),
  kind: z.enum(['app', 'function']),
  runtime: runtimeName,
  /** The unpacked code: an absolute path in this unit, read-only to the instance. */
  codeDirectory: z.string(),
  handler: z.string().nullable(),
  /** An app's command line. */
  start: z.string().nullable(),
  timeoutMs: z.number(),
  env: z.record(z.string(), z.string()),
  network: z.enum(['host', 'none']),
  grant: resources,
  /** How much memory was asked for it, where that is more than it starts with: see `resize`. */
  requested: promisedResources.optional(),
  function: z
    .object({
      name: z.string(),
      version: z.string(),
      arn: z.string(),
      memoryMb: z.number(),
      logGroup: z.string(),
      logStream: z.string(),
    })
    .nullable(),
});
export type InstanceSpec = z.infer<typeof instanceSpec>;

/** Lambda's error payload, for a start that failed in user code. */
export const startError = z.object({
  errorType: z.string(),
  errorMessage: z.string(),
  trace: z.array(z.string()),
});

export const startResult = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('started'),
    instance: instanceInfo,
    /** Whether it came from the warm pool. */
    pooled: z.boolean(),
    durationMs: z.number(),
    /** How clients reach it: see {@link endpoint}. */
    endpoint: z.lazy(() => endpoint),
  }),
  /** User code failed while it loaded (init error) or exited at once. */
  z.object({ outcome: z.literal('failed'), error: startError }),
]);

/** Where the gateway finds an instance: its run directory on the host, and for tunnelled apps a TCP port. */
export const endpoint = z.object({
  /** Host path of the directory that holds the sockets named in src/protocol/instance.ts. */
  runDirectory: z.string(),
  /** `frames`: the runtime inside speaks our frames (Node). `tcp`: a plain server behind a port, connections are tunnelled. */
  mode: z.enum(['frames', 'tcp']),
  /** The app's port, on 127.0.0.1; null with `frames`. */
  port: z.number().nullable(),
  /** In a virtual machine: all of the above is inside, and reached through the unit's door. Absent on this machine. */
  door: z.object({ host: z.string(), port: z.number().int(), token: z.string() }).optional(),
});
export type Endpoint = z.infer<typeof endpoint>;

/** One transaction's part in this unit. Growth is applied tenants first, shrinking instances first. */
export const resizeRequest = z.object({
  tenants: z.array(tenantSpec),
  instances: z.array(
    z.object({
      id: instanceId,
      grant: resources,
      /**
       * More memory than `grant` is lent: the kernel's limit becomes `grant`, the application is told and keeps this, and the
       * agent gives it back by itself before it is missed: see `givenBack`. Absent, or not more: nothing is lent.
       */
      promised: promisedResources.optional(),
      /**
       * More memory than `grant` was asked for it, which there is no room for: as long as the kernel's limit is lower it is not
       * killed for running into it but waits, and that is told: see `strained`. Absent, or not more: it has what was asked for.
       */
      requested: promisedResources.optional(),
    }),
  ),
  /** How long to keep trying before what does not fit is answered as deferred; it is retried afterwards all the same. */
  waitMs: z.number().nonnegative(),
});
export const resizeResult = z.object({ tenants: z.array(tenantChange), instances: z.array(instanceChange) });
export type ResizeRequest = z.infer<typeof resizeRequest>;
export type ResizeResult = z.infer<typeof resizeResult>;

/** An invocation whose end the runtime inside could not log, for it was killed or died: what the log is still owed. */
export const brokenInvocation = z.object({
  requestId: z.string(),
  durationMs: z.number().nonnegative(),
  cause: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('timedOut'), timeoutMs: z.number() }),
    /** Lambda's words for it, as the caller was answered. */
    z.object({ kind: z.literal('exited'), errorType: z.string(), message: z.string() }),
  ]),
});
export type BrokenInvocation = z.infer<typeof brokenInvocation>;

/** By the kernel's pressure figures. */
export const shortage = z.object({
  availableBytes: z.number().nonnegative(),
  /** Of the last second, how long some task stalled for memory. */
  stalledMicros: z.number().nonnegative(),
  why: z.string(),
});
export type Shortage = z.infer<typeof shortage>;

export const strained = z.object({
  id: instanceId,
  strain: z.enum(['easy', 'near', 'waiting']),
  /** What the kernel holds it to. */
  limitBytes: z.number().nonnegative(),
  requestedBytes: z.number().nonnegative(),
});

export const logEntry = z.object({ timeMs: z.number(), instance: z.string(), line: z.string() });

export const agentProtocol = {
  methods: {
    hello: method(nothing, agentHello),
    /** Makes the tenant's group or corrects it; a lower limit than is in use is left for `resize`. */
    ensureTenant: method(tenantSpec, nothing),
    /** Removes the tenant's group; fails with Conflict while it has instances. */
    removeTenant: method(z.object({ tenant: tenantId }), nothing),
    /** How many unbound processes to keep ready; the agent fills and empties in the background. */
    setPool: method(z.object({ size: z.number().int().nonnegative() }), nothing),
    start: method(instanceSpec, startResult),
    /** Ends an instance: asks it to, waits `graceMs`, kills. Returns when it and its groups are gone. */
    stop: method(
      z.object({ id: instanceId, graceMs: z.number().nonnegative(), reason: z.string() }),
      nothing,
    ),
    freeze: method(z.object({ id: instanceId }), nothing),
    thaw: method(z.object({ id: instanceId }), nothing),
    resize: method(resizeRequest, resizeResult),
    /**
     * Collects garbage inside and drops clean cache; returns the group's figures before and after. `cacheOnly` drops cache and
     * lets the program be: one that stands still is not woken.
     */
    trim: method(
      z.object({ id: instanceId, cacheOnly: z.boolean().optional() }),
      z.object({
        beforeBytes: z.number(),
        afterBytes: z.number(),
        /** Of the virtual machine that it is in: what nothing inside has was claimed, and is the host's. */
        unit: z.object({ claimedBytes: z.number() }).optional(),
      }),
    ),
    list: method(
      nothing,
      z.object({
        instances: z.array(z.object({ info: instanceInfo, endpoint, spec: instanceSpec })),
        poolReady: z.number(),
      }),
    ),
    measure: method(nothing, measurement),
    /** Log lines of a workload after `cursor` (null: the last `limit`), waiting up to `waitMs` for one. */
    readLogs: method(
      z.object({
        workload: workloadKey,
        cursor: z.string().nullable(),
        limit: z.number().int().positive(),
        waitMs: z.number(),
      }),
      z.object({ entries: z.array(logEntry), cursor: z.string() }),
    ),
    /**
     * Has the end of an invocation logged as Lambda would, after all that its instance wrote: when that has ended, which
     * it is about to. Answers then, with the last 4 KiB of what its log has. An instance that nobody remembers is not
     * an error; nothing is logged then, and the tail is empty.
     */
    logBroken: method(
      z.object({ id: instanceId, invocation: brokenInvocation }),
      z.object({ tail: z.string() }),
    ),
    /**
     * Client connections that a gateway carries to an instance itself, by its own count since it runs: those that could not be
     * handed over. `gateway` is its process id; `beside` are those of other gateways that run, so that one that was killed is told
     * from one that goes on beside the next. Null when it does not know: then nothing is known to have ended.
     */
    tunnels: method(
      z.object({
        id: instanceId,
        gateway: z.number().int(),
        beside: z.array(z.number().int()).nullable(),
        counts: connectionCounts,
      }),
      nothing,
    ),
    /**
     * Puts a virtual machine on disk with all that runs in it; connections into it stay, and what is sent to it meanwhile arrives
     * later. It wakes when it is asked to, or anything else of it is, and when a connection waits for it.
     */
    hibernate: method(
      z.object({
        unit: unitId,
        /** A half sentence, for the audit log. */
        why: z.string(),
        /** Only while it has carried no more than that: what came since may be in work. */
        carriedPackets: z.number().nonnegative().optional(),
      }),
      hibernated,
    ),
    wake: method(z.object({ unit: unitId }), z.object({ durationMs: z.number().nonnegative() })),
    /** Has a virtual machine go on in a second one with all that runs in it; connections into it stay. */
    move: method(z.object({ unit: unitId }), moved),
    removeLogs: method(z.object({ workload: workloadKey }), nothing),
    /** Orderly stop of everything: instances, groups, mounts, sockets. */
    shutdown: method(z.object({ graceMs: z.number() }), nothing),
  },
  events: {
    /** An instance changed: state, pid, grant or connections. */
    instance: instanceInfo,
    exited: z.object({
      id: instanceId,
      workload: workloadKey,
      code: z.number().nullable(),
      signal: z.string().nullable(),
      oomKilled: z.boolean(),
      reason: z.string(),
    }),
    /**
     * A function's instance that starts can be connected to, and be sent what it will begin with: that waits in it until it
     * serves. Told by whose socket the gateway reaches without more; whoever is not told waits for the answer to `start`.
     */
    reachable: z.object({ instance: instanceInfo, endpoint }),
    /** A deferred change was applied after all. */
    applied: resizeResult,
    /**
     * The agent gave a lent grant back by itself, past what may be granted if need be: the instance was about to go on after
     * having stood still, or came near the lent limit. `grant` is what the kernel enforces now; an `instance` event precedes it.
     */
    givenBack: z.object({ id: instanceId, grant: resources, why: z.enum(['thaw', 'strain']) }),
    /**
     * How an instance gets on that has less memory than was asked for it: `near` its limit, `waiting` at it, or `easy` again.
     * Told when that changes, and again each second while it is not easy.
     */
    strained,
    poolChanged: z.object({ ready: z.number() }),
    unit: unitEvent,
    /** Memory has become short on the host: told when that begins, and again while it goes on. */
    hostPressure: shortage,
  },
} satisfies Protocol;
export type AgentProtocol = typeof agentProtocol;
