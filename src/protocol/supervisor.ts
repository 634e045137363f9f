// What `bellows upgrade` says to the supervisor over `run/supervisor.sock`.
import { z } from 'zod';
import { method, nothing, type Protocol } from './rpc.ts';

export const supervisorProtocol = {
  methods: {
    /** Runs the code on the disk as the gateway; answers when it serves. Fails with UpgradeFailed: all is as before then. */
    upgrade: method(
      nothing,
      z.object({
        pid: z.number(),
        /** The process before; null when it had just crashed. */
        before: z.number().nullable(),
        durationMs: z.number(),
      }),
    ),
  },
  events: {},
} satisfies Protocol;
export type SupervisorProtocol = typeof supervisorProtocol;
