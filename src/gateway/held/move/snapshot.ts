// What is told of a held connection to the process that goes on with it, beside its descriptor. Pure. Both may be of different
// versions: what is added to it later must be optional.
import { z } from 'zod';
import type { WorkloadKey } from '../../../base/ids.ts';
import { workloadKey } from '../../../protocol/schemas.ts';
import type { ReaderState } from '../../websocket/frame-reader.ts';

const bytes = z.base64().transform((text) => Buffer.from(text, 'base64'));

const snapshotSchema = z.object({
  workload: workloadKey,
  id: z.string(),
  sourceIp: z.string(),
  userAgent: z.string(),
  connectedAtMs: z.number(),
  lastActiveAtMs: z.number(),
  /** In their order. */
  waiting: z.array(z.object({ body: z.string(), isBase64Encoded: z.boolean() })),
  /** Whether the first of them counts in its tenant's rate of requests already. */
  isCounted: z.boolean(),
  /** What was agreed on; null: nothing is compressed. */
  deflate: z.object({ serverWindowBits: z.number().nullable() }).nullable(),
  /** Read and not looked at: a part of a frame, or frames of a client that sends more than may wait. */
  unread: bytes,
  /** Of a message that came in pieces, those that are there. */
  fragments: z.object({ isBinary: z.boolean(), isCompressed: z.boolean(), bytes }).nullable(),
});
export type Snapshot = z.infer<typeof snapshotSchema>;

/** What the socket of a connection knows. */
export interface SocketState {
  readonly deflate: Snapshot['deflate'];
  readonly reader: ReaderState | undefined;
}

/** What the connection itself knows. */
type Known = Pick<
  Snapshot,
  'id' | 'sourceIp' | 'userAgent' | 'connectedAtMs' | 'lastActiveAtMs' | 'isCounted'
> & { readonly waiting: readonly Snapshot['waiting'][number][] };

export function snapshotOf(workload: WorkloadKey, connection: Known, socket: SocketState): Buffer {
  const { id, sourceIp, userAgent, connectedAtMs, lastActiveAtMs, waiting, isCounted } = connection;
  const fragments = socket.reader?.fragments;
  return Buffer.from(
    JSON.stringify({
      workload,
      id,
      sourceIp,
      userAgent,
      connectedAtMs,
      lastActiveAtMs,
      waiting,
      isCounted,
      deflate: socket.deflate,
      unread: socket.reader?.unread.toString('base64') ?? '',
      fragments: fragments === undefined ? null : { ...fragments, bytes: fragments.bytes.toString('base64') },
    }),
  );
}

/** @throws when it is none */
export function readSnapshot(payload: Buffer): Snapshot {
  return snapshotSchema.parse(JSON.parse(payload.toString('utf8')));
}
