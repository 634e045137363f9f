// What gateways that run beside each other say, over `run/gateway-PID.sock`: one was replaced and finishes what it carries.
import { z } from 'zod';
import { method, type Params, type Protocol, type ResultOf } from './rpc.ts';
import { tenantId, workloadKey } from './schemas.ts';

/** Both ends are equal. */
export const besideProtocol = {
  methods: {
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
    /** Said when they are connected and at each change. */
    carries: z.object({
      /** Whether it may still send invocations to instances; then nobody else freezes any. */
      mayInvoke: z.boolean(),
      tenants: z.array(
        z.object({
          tenant: tenantId,
          /** Client connections that it carries itself; what it handed over is told by the instances. */
          connections: z.number().int().nonnegative(),
          /** Invocations that no instance has yet; of those that one has, the instance tells. */
          waiting: z.number().int().nonnegative(),
        }),
      ),
    }),
  },
} satisfies Protocol;
export type BesideProtocol = typeof besideProtocol;
type Manage = BesideProtocol['methods']['manage'];
export type ManageParams = Params<Manage>;
export type Managed = ResultOf<Manage>;
