// Compression of single messages (RFC 7692, permessage-deflate), with nothing kept between two messages: a window would be up
// to 300 KiB for each connection, and could not be given to another process. Owns what is agreed on, and both directions. It works
// at once, for one message has at most some thousand bytes: that is done in less time than a thread is asked in, the largest in 1.3 ms.
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';

const extensionName = 'permessage-deflate';
/** Of zlib's. It takes 8, which a client may ask for, as 9, and stays within it. */
const mostWindowBits = 15;
/** What ends each flush, and is left out (7.2.1). */
const tail = Buffer.from([0x00, 0x00, 0xff, 0xff]);
/** Below this what is saved is less than a packet. */
const leastBytes = 1024;
/** Fast: of the largest messages a third of the time for a tenth more bytes. */
const level = constants.Z_BEST_SPEED;

/** What is agreed on for one connection; the same for all that ask for the same. */
export class Deflate {
  /** Of what is sent; null: the client did not ask. */
  readonly serverWindowBits: number | null;

  constructor(serverWindowBits: number | null) {
    this.serverWindowBits = serverWindowBits;
  }

  /** What the answer to the handshake says of it. */
  get answer(): string {
    const asked = this.serverWindowBits;
    const bits = asked === null ? '' : `; server_max_window_bits=${asked}`;
    return `${extensionName}; server_no_context_takeover; client_no_context_takeover${bits}`;
  }

  /** @returns undefined where it is not worth it */
  deflate(data: string | Buffer): Buffer | undefined {
    if (Buffer.byteLength(data) < leastBytes) return undefined;
    const finishFlush = constants.Z_SYNC_FLUSH;
    const options = { level, windowBits: this.serverWindowBits ?? mostWindowBits, finishFlush };
    const whole = deflateRawSync(data, options);
    return whole.subarray(0, whole.length - tail.length);
  }

  inflate(data: Buffer, maxBytes: number): Buffer | 'tooLarge' | 'invalid' {
    if (data.length === 0) return data;
    try {
      return inflateRawSync(Buffer.concat([data, tail]), {
        finishFlush: constants.Z_SYNC_FLUSH,
        maxOutputLength: maxBytes,
      });
    } catch (thrown) {
      return (thrown as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? 'tooLarge' : 'invalid';
    }
  }
}

const agreed = new Map<number | null, Deflate>();

/** As it was agreed on: also by the process that had the connection before. */
export function deflateWith(serverWindowBits: number | null): Deflate {
  let deflate = agreed.get(serverWindowBits);
  if (deflate === undefined) agreed.set(serverWindowBits, (deflate = new Deflate(serverWindowBits)));
  return deflate;
}

/**
 * Takes the first offer that can be kept to.
 * @param header of `Sec-WebSocket-Extensions`
 * @returns undefined when nothing fits; then nothing is compressed
 */
export function negotiateDeflate(header: string | undefined): Deflate | undefined {
  for (const offer of header?.split(',') ?? []) {
    const [name, ...parameters] = offer.split(';').map((part) => part.trim());
    const bits = name === extensionName ? serverBits(parameters) : undefined;
    if (bits !== undefined) return deflateWith(bits);
  }
  return undefined;
}

/** `name`, `name=value` or `name="value"`; nothing else can stand in an offer of RFC 7692. */
const parameterPattern = /^([a-z_]+)(?:\s*=\s*(?:"(\d{1,2})"|(\d{1,2})))?$/;
const bitsPattern = /^(?:[89]|1[0-5])$/;

/** @returns undefined when the offer is none of RFC 7692 (7.1): such are declined */
function serverBits(parameters: readonly string[]): number | null | undefined {
  const seen = new Set<string>();
  let bits: number | null = null;
  for (const parameter of parameters) {
    const [, name = '', quoted, plain] = parameterPattern.exec(parameter) ?? [];
    const value = quoted ?? plain;
    if (seen.has(name) || !isParameter(name, value)) return undefined;
    seen.add(name);
    if (name === 'server_max_window_bits') bits = Number(value);
  }
  return bits;
}

function isParameter(name: string, value: string | undefined): boolean {
  const isBits = value !== undefined && bitsPattern.test(value);
  switch (name) {
    case 'server_no_context_takeover':
    case 'client_no_context_takeover':
      return value === undefined;
    case 'client_max_window_bits':
      // Whatever it says: we take what any window made.
      return value === undefined || isBits;
    case 'server_max_window_bits':
      return isBits;
    default:
      return false;
  }
}
