// What gateways that run beside each other say, over `run/gateway-PID.sock`: one was replaced and finishes what it carries.
import { z } from 'zod';
import type { Protocol } from './rpc.ts';
import { tenantId } from './schemas.ts';

/** Both ends say the same, when they are connected and at each change. */
export const besideProtocol = {
  methods: {},
  events: {
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
