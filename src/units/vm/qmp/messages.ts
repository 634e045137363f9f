// What QEMU says on its monitor (QMP), as schemas. Owns the shapes of messages; which commands there are is commands.ts.
import { z } from 'zod';

/** The first message on every connection. */
export const greeting = z.object({
  QMP: z.object({
    version: z.object({ qemu: z.object({ major: z.number(), minor: z.number(), micro: z.number() }) }),
  }),
});

const answer = z.object({ id: z.number(), return: z.unknown() });
/** `id` is missing where QEMU could not even read the command. */
const refusal = z.object({
  id: z.number().optional(),
  error: z.object({ class: z.string(), desc: z.string() }),
});
const event = z.object({ event: z.string(), data: z.record(z.string(), z.unknown()).optional() });

export const qmpMessage = z.union([refusal, event, answer]);

/** The events that are heeded, of the many there are; others are `undefined`. */
const heededEvents = {
  /** The guest, or somebody outside, ended the machine; the process stays while it is told to pause then. */
  SHUTDOWN: z.object({ guest: z.boolean(), reason: z.string() }),
  /** The guest's kernel gave up. */
  GUEST_PANICKED: z.object({ action: z.string() }),
  /** The agent opened or closed the serial port. */
  VSERPORT_CHANGE: z.object({ id: z.string(), open: z.boolean() }),
} as const;

export type QmpEvent = {
  [E in keyof typeof heededEvents]: {
    readonly event: E;
    readonly data: z.infer<(typeof heededEvents)[E]>;
  };
}[keyof typeof heededEvents];

/** Undefined for an event that nobody here heeds. @throws ZodError when one that is heeded has another shape. */
export function heededEvent(message: z.infer<typeof event>): QmpEvent | undefined {
  if (!(message.event in heededEvents)) return undefined;
  const name = message.event as keyof typeof heededEvents;
  return { event: name, data: heededEvents[name].parse(message.data ?? {}) } as QmpEvent;
}
