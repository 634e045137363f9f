// Plain HTTP on the port for TLS: whoever writes `http://` for `https://` is told so, in the words it speaks, instead of being cut
// off. Owns telling the two apart by the first byte. Does not own the handshake (secure-listener.ts).
//
//   accepted ──a first byte──▶ a handshake record ──▶ TLS
//       │                 └──▶ anything else ──▶ 400 ──▶ closed
//       └──nothing in time──▶ closed
import type { Socket } from 'node:net';
import type { ErrorRecord } from '../../base/errors.ts';
import { endWithError } from '../answer.ts';
import { serverLimits } from '../config.ts';

/** Every connection of TLS begins with a record of type `handshake` (RFC 8446, 5.1). */
const handshakeRecord = 22;

const plain: ErrorRecord = {
  code: 'BadRequest',
  message: 'This is plain HTTP, and this port takes HTTPS only.',
  hint: 'Write https:// (or wss://) for this port, or use the port for plain HTTP.',
};

/** @param serve called when it is a connection of TLS, of which nothing is used up */
export function tellPlainHttp(socket: Socket, serve: () => void): void {
  const end = (): void => void socket.destroy();
  socket.setTimeout(serverLimits.headersTimeoutMs, end).on('error', end).once('end', end);
  socket.once('data', (first) => {
    if (first[0] !== handshakeRecord) {
      endWithError(socket, 400, 'Bad Request', plain);
      return;
    }
    socket.setTimeout(0, end).off('error', end).off('end', end);
    // Neither flows to nobody, nor is forgotten: TLS reads what is put back first.
    socket.pause();
    socket.unshift(first);
    serve();
  });
}
