// Frames of RFC 6455 as both directions need them: what their bits mean, and those that a server sends. Pure.

export const opcode = {
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
} as const;

export const bits = {
  final: 0x80,
  reserved1: 0x40,
  reserved2And3: 0x30,
  opcode: 0x0f,
  mask: 0x80,
  length: 0x7f,
} as const;

/** Values of the 7-bit length that say that the length follows, in so many bytes (5.2). */
export const lengthIn = { twoBytes: 126, eightBytes: 127 } as const;

/** A control frame's payload has at most so many bytes (5.5). */
export const maxControlBytes = 125;

/** Close codes of 7.4.1 that are sent for what a client does wrong. */
export const closeCode = {
  protocolError: 1002,
  noStatus: 1005,
  abnormal: 1006,
  invalidData: 1007,
  tooLarge: 1009,
} as const;

/** As a server sends it: whole and not masked. @param isCompressed the payload is, see deflate.ts */
export function frame(kind: number, payload: Uint8Array | string, isCompressed = false): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
  const headBytes = bytes < lengthIn.twoBytes ? 2 : bytes <= 0xffff ? 4 : 10;
  const whole = Buffer.allocUnsafe(headBytes + bytes);
  whole[0] = bits.final | (isCompressed ? bits.reserved1 : 0) | kind;
  if (headBytes === 2) whole[1] = bytes;
  else if (headBytes === 4) {
    whole[1] = lengthIn.twoBytes;
    whole.writeUInt16BE(bytes, 2);
  } else {
    whole[1] = lengthIn.eightBytes;
    whole.writeBigUInt64BE(BigInt(bytes), 2);
  }
  if (typeof payload === 'string') whole.write(payload, headBytes);
  else whole.set(payload, headBytes);
  return whole;
}

/** @param code {@link closeCode.noStatus} for none @param reason cut off, between characters, where there is no more room for it */
export function closeFrame(code: number, reason: string): Buffer {
  if (code === closeCode.noStatus) return frame(opcode.close, '');
  const payload = Buffer.alloc(maxControlBytes);
  payload.writeUInt16BE(code, 0);
  const reasonBytes = payload.write(reason, 2);
  return frame(opcode.close, payload.subarray(0, 2 + reasonBytes));
}

/** Whether a close frame may name it: those of IANA's registry, and what applications agree on (7.4.2). */
export function isCloseCode(code: number): boolean {
  const isRegistered = code >= 1000 && code <= 1014;
  const isNeverSent = code === 1004 || code === closeCode.noStatus || code === closeCode.abnormal;
  return (isRegistered && !isNeverSent) || (code >= 3000 && code <= 4999);
}
