// The handshake that opens a WebSocket (RFC 6455, 4.2): what asks for one, and the head of the answer. Pure.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

type Asked = Pick<IncomingMessage, 'method' | 'headers'>;

/** RFC 6455, 1.3. */
const handshakeId = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** 16 bytes in base64 (4.1). */
const keyPattern = /^[A-Za-z0-9+/]{22}==$/;
/** A token of RFC 9110: what a subprotocol's name is made of. */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Undefined when no WebSocket is asked for in the way of RFC 6455. */
function keyOf({ method, headers }: Asked): string | undefined {
  const key = headers['sec-websocket-key'];
  const isHandshake =
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    key !== undefined &&
    keyPattern.test(key);
  return isHandshake ? key : undefined;
}

export function asksInOrder(asked: Asked): boolean {
  return keyOf(asked) !== undefined;
}

/** In the order in which the client would have them. */
export function offeredProtocols({ headers }: Asked): string[] {
  const names = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? [];
  return names.filter((name) => tokenPattern.test(name));
}

/**
 * The head of the answer that completes the handshake; undefined when none was asked for.
 * @param protocol the subprotocol that is chosen
 * @param extensions what is agreed on
 */
export function acceptanceOf(asked: Asked, protocol?: string, extensions?: string): string | undefined {
  const key = keyOf(asked);
  if (key === undefined) return undefined;
  const accept = createHash('sha1').update(`${key}${handshakeId}`).digest('base64');
  const chosen = protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  const agreed = extensions === undefined ? '' : `Sec-WebSocket-Extensions: ${extensions}\r\n`;
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}${agreed}\r\n`;
}
