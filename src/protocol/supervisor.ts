// What `bellows upgrade` says to the supervisor over `run/supervisor.sock`.
import { z } from 'zod';
import { method, nothing, type Protocol } from './rpc.ts';

export const supervisorProtocol = {
  methods: {
    /** Runs the code on the disk as the gateways; answers when they serve. Fails with UpgradeFailed: see docs/ERRORS.md. */
    upgrade: method(
      nothing,
      z.array(
        z.object({
          pid: z.number(),
          /** The process before; null when it had just crashed. */
          before: z.number().nullable(),
          durationMs: z.number(),
        }),
      ),
    ),
  },
  events: {},
} satisfies Protocol;
export type SupervisorProtocol = typeof supervisorProtocol;
