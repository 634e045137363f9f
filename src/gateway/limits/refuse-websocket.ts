// Refuses a WebSocket so that its client learns why: browsers show a page nothing of a failed upgrade, so the handshake is
// completed and the connection closed at once with a code and a reason (RFC 6455). Owns that exchange, and nothing of when.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { BellowsError } from '../../base/errors.ts';
import { endWithError } from '../answer.ts';
import { closeFrame } from '../websocket/frame.ts';
import { acceptanceOf, offeredProtocols } from '../websocket/handshake.ts';

/** "Try Again Later" in IANA's registry of close codes. */
const tryAgainLater = 1013;
/** For the client's own close frame, or the end of its connection. One that never comes is not waited for. */
const closeWaitMs = 2_000;

/**
 * Refuses an upgrade that is beyond a limit: a WebSocket is closed with the reason, anything else is told by HTTP.
 * @param reason what fits into a close frame; the error's message unless told otherwise
 */
export function refuseUpgrade(
  request: IncomingMessage,
  socket: Duplex,
  error: BellowsError,
  retryAfterSeconds: number,
  reason = error.message,
): void {
  if (refuseWebSocket(request, socket, tryAgainLater, reason)) return;
  const headers = ['Retry-After', String(retryAfterSeconds)];
  endWithError(socket, 429, 'Too Many Requests', error.toRecord(), headers);
}

/**
 * Completes the handshake and closes. The connection ends when the client has answered, or after a moment in any case.
 * @returns false, with nothing done, when the client asked for something else than a WebSocket
 */
function refuseWebSocket(request: IncomingMessage, socket: Duplex, code: number, reason: string): boolean {
  // Clients that offer protocols and are answered none take the handshake for failed, and see no close code.
  const head = acceptanceOf(request, offeredProtocols(request)[0]);
  if (head === undefined) return false;
  if (!socket.writable) {
    socket.destroy();
    return true;
  }
  const late = setTimeout(() => socket.destroy(), closeWaitMs);
  socket.once('close', () => clearTimeout(late));
  socket.write(Buffer.concat([Buffer.from(head, 'latin1'), closeFrame(code, reason)]));
  // Everything is read, so that the end of the connection is no reset, which could overtake the frame.
  socket.on('data', () => socket.end());
  socket.once('end', () => socket.end());
  return true;
}
