// The commands of QEMU's monitor that are used: arguments, answer, and how long an answer may take. Data only.
// Names and shapes are those of QEMU's documentation of QMP; what an answer has beyond that is not heeded.
import { z } from 'zod';

/** QEMU answers these between two turns of its main loop; seconds mean that it hangs, or that the machine is drowned. */
const quickMs = 10_000;

const command = <A extends z.ZodType, R extends z.ZodType>(args: A, result: R, timeoutMs = quickMs) => ({
  args,
  result,
  timeoutMs,
});
const none = z.object({});

export const qmpCommands = {
  qmp_capabilities: command(none, none),
  'query-status': command(none, z.object({ status: z.string(), running: z.boolean() })),
  /** Waits for the disks to be quiet. */
  stop: command(none, none, 30_000),
  cont: command(none, none, 30_000),
  quit: command(none, none),
  balloon: command(z.object({ value: z.number() }), none),
  /** What the guest has: its memory less the balloon. */
  'query-balloon': command(none, z.object({ actual: z.number() })),
  'migrate-set-capabilities': command(
    z.object({ capabilities: z.array(z.object({ capability: z.string(), state: z.boolean() })) }),
    none,
  ),
  'migrate-set-parameters': command(z.object({ 'max-bandwidth': z.number() }), none),
  migrate: command(z.object({ uri: z.string() }), none),
  /** Despite its name nothing of Xen's: all but the memory, to a file as QEMU sees it. `live: false` leaves the disks in use. */
  'xen-save-devices-state': command(z.object({ filename: z.string(), live: z.boolean() }), none, 30_000),
  'migrate-incoming': command(z.object({ uri: z.string() }), none),
  'query-migrate': command(
    none,
    z.object({ status: z.string().optional(), 'error-desc': z.string().optional() }),
  ),
  /** The last that the guest wrote to its console. */
  'ringbuf-read': command(z.object({ device: z.string(), size: z.number() }), z.string()),
  /** For what QMP has no command for: ports of user networking. */
  'human-monitor-command': command(z.object({ 'command-line': z.string() }), z.string()),
} as const;

export type QmpCommand = keyof typeof qmpCommands;
export type QmpArguments<C extends QmpCommand> = z.infer<(typeof qmpCommands)[C]['args']>;
export type QmpResult<C extends QmpCommand> = z.infer<(typeof qmpCommands)[C]['result']>;
