// What gateways that run beside each other say, over `run/gateway-PID.sock`: several serve together, or one was replaced and
// finishes what it carries.
import { z } from 'zod';
import { method, nothing, type Params, type Protocol, type ResultOf } from './rpc.ts';
import { instanceId, tenantId, workloadKey } from './schemas.ts';

/**
 * Every instance of a function is at home with one gateway, which lends it to others.
 * `wants`: who speaks would have it. `lends`, `refuses`: what who is at home answers. `recalls`: who is at home would have it back;
 * `refuses` is also said to that: it is not there. `holds`: it was lent to who speaks, said to all who are at home with it. `returns`: it was given back.
 */
export const lendingWords = ['wants', 'lends', 'refuses', 'recalls', 'holds', 'returns'] as const;
export type LendingWord = (typeof lendingWords)[number];

/** Both ends are equal. */
export const besideProtocol = {
  methods: {
    /** Answers when all that was counted until now was told: who asks would refuse somebody for what was told before. */
    sync: method(nothing, nothing),
    /** Does to a held connection what a caller of `@connections` asks for, who was allowed to. */
    manage: method(
      z.object({
        workload: workloadKey,
        id: z.string(),
        act: z.enum(['send', 'look', 'close']),
        /** What is sent, in base64. */
        body: z.string(),
      }),
      z.discriminatedUnion('is', [
        z.object({ is: z.literal('done') }),
        z.object({
          is: z.literal('seen'),
          connectedAtMs: z.number(),
          lastActiveAtMs: z.number(),
          sourceIp: z.string(),
          userAgent: z.string(),
        }),
        /** Its client has left too much unread. */
        z.object({ is: z.literal('full') }),
        /** It is not there any more, or is just ending. */
        z.object({ is: z.literal('gone') }),
        /** There is no such connection here. */
        z.object({ is: z.literal('unknown') }),
      ]),
    ),
  },
  events: {
    /** Who speaks: the first word on each link, and said again when it leaves. */
    is: z.object({
      pid: z.number().int(),
      /** When it started, in the kernel's ticks: which of two was there before. */
      startTicks: z.number().int(),
      /** Which of the gateways that serve together; one that replaces another has the same. */
      place: z.number().int().nonnegative(),
      /** Another serves in its place. */
      leaves: z.boolean(),
    }),
    /** What was let in and carried since it was said last: it counts against limits here, too. */
    spent: z.array(
      z.object({
        owner: z.enum(['tenant', 'workload', 'instance']),
        name: z.string(),
        requests: z.number().nonnegative(),
        bytesIn: z.number().nonnegative(),
        bytesOut: z.number().nonnegative(),
      }),
    ),
    /** Who may send invocations to an instance: see src/gateway/invoke/lending.ts. */
    lending: z.object({ workload: workloadKey, id: instanceId, say: z.enum(lendingWords) }),
    /** Said when they are connected and at each change. */
    carries: z.object({
      /** Whether it may still send invocations to instances; then nobody else freezes any. */
      mayInvoke: z.boolean(),
      /** The process that its held connections go to. */
      movedTo: z.number().int().optional(),
      tenants: z.array(
        z.object({
          tenant: tenantId,
          /** Client connections that it carries itself; what it handed over is told by the instances. */
          connections: z.number().int().nonnegative(),
          /** Invocations that no instance has yet; of those that one has, the instance tells. */
          waiting: z.number().int().nonnegative(),
          /** Held connections that it has sent to the process named by `movedTo`, since that came for them; not in `connections`. */
          moved: z.number().int().nonnegative().optional(),
        }),
      ),
    }),
  },
} satisfies Protocol;
export type BesideProtocol = typeof besideProtocol;
type Manage = BesideProtocol['methods']['manage'];
export type ManageParams = Params<Manage>;
export type Managed = ResultOf<Manage>;
