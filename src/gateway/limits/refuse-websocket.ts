// Refuses a WebSocket so that its client learns why: browsers show a page nothing of a failed upgrade, so the handshake is
// completed and the connection closed at once with a code and a reason (RFC 6455). Owns that exchange, and nothing of when.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { BellowsError } from '../../base/errors.ts';
import { endWithError } from '../answer.ts';

/** "Try Again Later" in IANA's registry of close codes. */
const tryAgainLater = 1013;
/** RFC 6455, 1.3. */
const handshakeId = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** 16 bytes in base64 (4.1). */
const keyPattern = /^[A-Za-z0-9+/]{22}==$/;
/** A token of RFC 9110: what a subprotocol's name is made of. */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const closeOpcode = 0x88;
/** A control frame has at most 125 bytes, two of them the code (5.5). */
const maxReasonBytes = 123;
/** For the client's own close frame, or the end of its connection. One that never comes is not waited for. */
const closeWaitMs = 2_000;

/** The head of the answer that completes the handshake; undefined when no WebSocket was asked for in the way of RFC 6455. */
export function acceptanceOf({
  method,
  headers,
}: Pick<IncomingMessage, 'method' | 'headers'>): string | undefined {
  const key = headers['sec-websocket-key'];
  const isHandshake =
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    key !== undefined &&
    keyPattern.test(key);
  if (!isHandshake) return undefined;
  const accept = createHash('sha1').update(`${key}${handshakeId}`).digest('base64');
  // Clients that offer protocols and are answered none take the handshake for failed, and see no close code.
  const protocol = headers['sec-websocket-protocol']?.split(',')[0]?.trim() ?? '';
  const chosen = tokenPattern.test(protocol) ? `Sec-WebSocket-Protocol: ${protocol}\r\n` : '';
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}\r\n`;
}

/** @param reason in ASCII; cut off where a close frame has no more room */
export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason, 'latin1').subarray(0, maxReasonBytes);
  const frame = Buffer.allocUnsafe(4 + text.length);
  frame.writeUInt8(closeOpcode, 0);
  frame.writeUInt8(2 + text.length, 1);
  frame.writeUInt16BE(code, 2);
  text.copy(frame, 4);
  return frame;
}

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
  const head = acceptanceOf(request);
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
