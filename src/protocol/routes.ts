// What the gateway and the controller say to each other over `run/controller.sock`.
// The controller pushes routes; the gateway asks for instances and reports what it carries.
import { z } from 'zod';
import { unitKinds } from '../model/unit-kind.ts';
import { urlInvokeModes } from '../model/workload.ts';
import { endpoint } from './agent.ts';
import { method, nothing, type Protocol } from './rpc.ts';
import { instanceId, resources, tenantId, workloadKey, workloadName } from './schemas.ts';

export const tenantRoute = z.object({
  id: tenantId,
  accountId: z.string(),
  accessKeyId: z.string(),
  secretAccessKey: z.string(),
  connectionLimit: z.number().nullable(),
  concurrencyLimit: z.number().nullable(),
  /** A second. */
  requestLimit: z.number().nullable(),
  /** Bytes per second, each way. */
  bandwidthLimit: z.number().nullable(),
});
export type TenantRoute = z.infer<typeof tenantRoute>;

const webSocketSettings = z.object({
  routes: z.array(z.string()),
  /** Whose answers go to the client; all when absent. */
  routeResponses: z.array(z.string()).optional(),
  routeSelectionExpression: z.string(),
  idleTimeoutMs: z.number().nullable(),
  maxDurationMs: z.number().nullable(),
});

export const workloadRoute = z.object({
  key: workloadKey,
  tenant: tenantId,
  name: workloadName,
  kind: z.enum(['app', 'function']),
  /** Only instances of this generation get new requests. */
  generation: z.string(),
  timeoutMs: z.number(),
  memoryBytes: z.number(),
  url: z.boolean(),
  /** Of the URL; `BUFFERED` when absent. */
  invokeMode: z.enum(urlInvokeModes).optional(),
  /** An app that is given its clients' HTTP connections; not when absent. */
  directHttp: z.boolean().optional(),
  /** Null: it takes no WebSockets that the gateway holds. */
  websocket: webSocketSettings.nullable(),
  reservedConcurrency: z.number().nullable(),
  /** Where its instances start: it says how long that may take. Absent when a controller of an older version tells. */
  unitKind: z.enum(unitKinds).optional(),
});
export type WorkloadRoute = z.infer<typeof workloadRoute>;

export const instanceRoute = z.object({
  id: instanceId,
  workload: workloadKey,
  generation: z.string(),
  endpoint,
  /** It listens, and takes one invocation to begin with, but does not serve yet: it says itself when it does. */
  starting: z.boolean(),
  frozen: z.boolean(),
  grant: resources,
});
export type InstanceRoute = z.infer<typeof instanceRoute>;

export const routeTable = z.object({
  tenants: z.array(tenantRoute),
  workloads: z.array(workloadRoute),
  instances: z.array(instanceRoute),
  /** They get nothing new, and are there until what is in flight has ended: whoever knows one keeps it. */
  retiring: z.array(instanceId).optional(),
});

/** One change of the route table, in the order they happened. */
export const routeChange = z.discriminatedUnion('change', [
  z.object({ change: z.literal('tenant'), tenant: tenantRoute }),
  z.object({ change: z.literal('tenantGone'), id: tenantId }),
  z.object({ change: z.literal('workload'), workload: workloadRoute }),
  z.object({ change: z.literal('workloadGone'), key: workloadKey }),
  z.object({ change: z.literal('instance'), instance: instanceRoute }),
  z.object({
    change: z.literal('instanceGone'),
    id: instanceId,
    workload: workloadKey,
    reason: z.string(),
    oomKilled: z.boolean(),
  }),
]);
export type RouteChange = z.infer<typeof routeChange>;

/** How a function's calls kept its instances busy since the last report; times are the gateway's wall clock. */
export const callTrace = z.object({
  /** The most instances that worked at once. */
  most: z.number().int().nonnegative(),
  /** When the first of them began to work that had not before; null when none did. */
  calledAtMs: z.number().nullable(),
  /** When one was last done; null when none was. */
  endedAtMs: z.number().nullable(),
});
export type CallTrace = z.infer<typeof callTrace>;

/** The controller's end: what it serves to gateways, and the changes that it tells them. */
export const controllerProtocol = {
  methods: {
    /** Announces a gateway; the answer is the whole route table, and changes follow as events. */
    hello: method(
      z.object({
        pid: z.number(),
        /** Which of the gateways that serve together it is: one that replaces another has the same. 0 when absent. */
        place: z.number().int().nonnegative().optional(),
        /** The processes of other gateways that run, as far as it knows: they will come, too. */
        beside: z.array(z.number()).optional(),
      }),
      routeTable,
    ),
    /**
     * Requests wait and no instance is free: start one more. Answers when it is usable (its route was sent before), with null
     * when it was given up because nobody waited for it any more, see the event `spare`.
     * Fails with LimitReached, NoRoom, NotFound, or StartFailed (then the message is JSON of Lambda's error payload).
     */
    acquire: method(
      z.object({
        workload: workloadKey,
        generation: z.string(),
        waiting: z.number(),
        deadlineMs: z.number(),
      }),
      z.object({ id: instanceId.nullable() }),
    ),
    /** The instance is of no further use (timed out, closed its socket, spoke nonsense): kill and forget it. */
    discard: method(z.object({ id: instanceId, reason: z.string() }), nothing),
    /** An asynchronous invocation: stored durably before this answers. */
    enqueue: method(
      z.object({
        workload: workloadKey,
        requestId: z.string(),
        event: z.string(),
        clientContext: z.string(),
      }),
      nothing,
    ),
  },
  events: {
    routes: z.array(routeChange),
  },
} satisfies Protocol;
export type ControllerProtocol = typeof controllerProtocol;

/** The gateway's end of the same link: what it serves to the controller, and what it reports. */
export const gatewayProtocol = {
  methods: {
    /** Send nothing more to these instances; answers when nothing of theirs is in flight or `deadlineMs` has come. */
    retire: method(z.object({ ids: z.array(instanceId), deadlineMs: z.number() }), nothing),
    /** Runs a queued asynchronous event; answers with its outcome. */
    invoke: method(
      z.object({
        workload: workloadKey,
        requestId: z.string(),
        event: z.string(),
        clientContext: z.string(),
      }),
      z.object({ outcome: z.enum(['ok', 'functionError', 'throttled', 'unavailable']), payload: z.string() }),
    ),
    /** What tenants have of what gateways count. Those that have nothing may be left out. */
    usage: method(
      nothing,
      z.array(
        z.object({
          tenant: tenantId,
          connections: z.number(),
          concurrency: z.number(),
          requests: z.number(),
        }),
      ),
    ),
    /** What it is doing, for people. One of an earlier Bellows does not know it. */
    look: method(
      nothing,
      z.object({
        /** It does not accept yet, or not any more. */
        state: z.enum(['starting', 'serving', 'leaving']),
        /** Of clients, open in this process. What was handed to apps is theirs. */
        connections: z.number().int().nonnegative(),
      }),
    ),
    /** Answers when every change that was sent before has been applied: what is called after it meets them. */
    sync: method(nothing, nothing),
    /** Stop accepting, let what runs end by then, close. */
    drain: method(z.object({ deadlineMs: z.number() }), nothing),
  },
  events: {
    /** What the gateway carried since the last report, per workload; sent every second while anything happens. */
    traffic: z.array(
      z.object({
        workload: workloadKey,
        requests: z.number(),
        errors: z.number(),
        throttles: z.number(),
        busyInstances: z.number(),
        waiting: z.number(),
        connections: z.number(),
        /** Of apps: requests whose answers have not ended. */
        openRequests: z.number().optional(),
        bytesIn: z.number(),
        bytesOut: z.number(),
        /** Of functions, when a call began or ended. */
        calls: callTrace.optional(),
      }),
    ),
    /** Of a function: so many requests wait, fewer than instances were asked for. Starts that have not begun may be given up. */
    spare: z.object({ workload: workloadKey, waiting: z.number().int().nonnegative() }),
    /** An instance has been idle since then, for scaling in and for people; null: it is in use again. */
    idle: z.object({ id: instanceId, sinceMs: z.number().nullable() }),
  },
} satisfies Protocol;
export type GatewayProtocol = typeof gatewayProtocol;
