// The door of a virtual machine: one TCP port inside it, over which whoever has the unit's token reaches what listens
// there. A connection begins with one line of JSON; the door answers with one line, and then the bytes are the target's.
// Owns the lines. What listens inside is the agent's matter; who connects is the gateway or the unit's owner.
import { z } from 'zod';
import { instanceId } from './schemas.ts';

/**
 * Where the door listens inside. Below 1024, where only root may listen: user code must not stand there while the agent is
 * being replaced, and hear tokens. Of the two numbers that RFC 4727 leaves to whoever wants them.
 */
export const doorPort = 1021;

/** The line with its newline: a token, names, and nothing that grows. */
export const doorLineBytes = 1024;

export const doorRequest = z.object({
  token: z.string(),
  to: z.discriminatedUnion('kind', [
    /** One of an instance's sockets, by the names in src/protocol/instance.ts. */
    z.object({ kind: z.literal('socket'), instance: instanceId, socket: z.enum(['frames', 'http']) }),
    /** The TCP port that a tunnelled app listens on. */
    z.object({ kind: z.literal('port'), instance: instanceId }),
    /**
     * A tar of a workload's code follows, to its end (the connection's half); answered with a second line when it is
     * unpacked, or why it is not. Code that is there already is read and dropped.
     */
    z.object({ kind: z.literal('code'), tenant: z.string(), sha256: z.string() }),
  ]),
});
export type DoorRequest = z.infer<typeof doorRequest>;

/** `{}` opens; the bytes after the newline are the target's. */
export const doorAnswer = z.object({ error: z.string().optional() });
export type DoorAnswer = z.infer<typeof doorAnswer>;
