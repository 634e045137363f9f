// Reads request bodies into memory, within a limit for each and one for all together. Owns no meaning of bytes.
import type { IncomingMessage } from 'node:http';
import { BellowsError } from '../../base/errors.ts';
import { humanBytes, mib } from '../../base/quantity.ts';

/** Three of the largest uploads at once: their bytes are held several times over while they are decoded and hashed. */
const maxBytesInFlight = 256 * mib;

/** Thrown when one body is too large. */
export class BodyTooLarge extends BellowsError {
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    super('PayloadTooLarge', `The request's body is larger than ${humanBytes(limitBytes)}.`, 'Send less.');
    this.limitBytes = limitBytes;
  }
}

export class BodyReader {
  #bytesInFlight = 0;

  /**
   * Calls `use` with the whole body, which counts towards the common limit until `use` has ended.
   * @throws BodyTooLarge; BellowsError Unavailable when other uploads take all room, BadRequest when the caller hangs up
   */
  async with<T>(request: IncomingMessage, limitBytes: number, use: (body: Buffer) => Promise<T>): Promise<T> {
    let heldBytes = 0;
    try {
      if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw new BodyTooLarge(limitBytes);
      const chunks: Buffer[] = [];
      // The request must outlive a refusal, so that the refusal can be sent.
      const incoming: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
      for await (const chunk of incoming) {
        heldBytes += chunk.length;
        this.#bytesInFlight += chunk.length;
        if (heldBytes > limitBytes) throw new BodyTooLarge(limitBytes);
        if (this.#bytesInFlight > maxBytesInFlight) {
          throw new BellowsError(
            'Unavailable',
            'Too many large uploads are in progress.',
            'Try again in a few seconds.',
          );
        }
        chunks.push(chunk);
      }
      return await use(
        chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, heldBytes),
      );
    } catch (thrown) {
      if (thrown instanceof BodyTooLarge) await discardRest(request);
      if (isAborted(thrown))
        throw new BellowsError('BadRequest', 'The request ended before its body was whole.');
      throw thrown;
    } finally {
      this.#bytesInFlight -= heldBytes;
    }
  }
}

function isAborted(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'ECONNRESET';
}

/** Most of a body that is a little too large: its sender reads the answer only after it has sent everything. */
const maxDiscardedBytes = 64 * mib;

/** Reads on into nothing, up to a bound; who sends more than that finds the connection closed. */
async function discardRest(request: IncomingMessage): Promise<void> {
  let bytesLeft = maxDiscardedBytes;
  const rest: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
  for await (const chunk of rest) {
    bytesLeft -= chunk.length;
    if (bytesLeft < 0) break;
  }
}
