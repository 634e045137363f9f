// Reads a whole request body into memory, up to a limit. Owns nothing else; large bodies are streamed (apps/).
import type { ClientRequest } from './client-exchange.ts';

export type Body =
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  /** It is, or says it is, longer than the limit. */
  | { readonly kind: 'tooLarge' }
  /** The client left before it was all there. */
  | { readonly kind: 'aborted' };

const empty: Body = { kind: 'whole', bytes: Buffer.alloc(0) };

/** Whether a body follows the head at all (RFC 9112, 6.3): only then is it worth waiting for one. */
export function hasBody(request: ClientRequest): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

/** Calls back once, at once when there is no body. */
export function readBody(request: ClientRequest, limitBytes: number, done: (body: Body) => void): void {
  if (!hasBody(request)) {
    done(empty);
    return;
  }
  if (Number(request.headers['content-length'] ?? 0) > limitBytes) {
    discardRest(request, done);
    return;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  // A flag rather than taking three listeners off again for every request.
  let finished = false;
  const finish = (body: Body): void => {
    if (finished) return;
    finished = true;
    done(body);
  };
  request
    .on('data', (chunk: Buffer) => {
      if (finished) return;
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > limitBytes) finish({ kind: 'tooLarge' });
    })
    .on('end', () => {
      const [first] = chunks;
      finish({
        kind: 'whole',
        bytes: chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks, bytes),
      });
    })
    .on('close', () => finish({ kind: 'aborted' }));
}

/** Most of a body that is a little too large: its sender reads the answer only after it has sent everything. */
const maxDiscardedBytes = 64 * 1024 * 1024;

/** Reads on into nothing, up to a bound, then says that it was too large; who sends more finds the connection closed. */
function discardRest(request: ClientRequest, done: (body: Body) => void): void {
  let bytesLeft = maxDiscardedBytes;
  const finish = (body: Body): void => {
    request.off('data', onData).off('end', onEnd).off('close', onClose);
    done(body);
  };
  const onData = (chunk: Buffer): void => {
    bytesLeft -= chunk.length;
    if (bytesLeft < 0) finish({ kind: 'tooLarge' });
  };
  const onEnd = (): void => finish({ kind: 'tooLarge' });
  const onClose = (): void => finish({ kind: 'aborted' });
  request.on('data', onData).on('end', onEnd).on('close', onClose);
}
