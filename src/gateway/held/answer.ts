// What a function answers to an event of a held connection, in the shape of API Gateway's proxy integrations. Pure.
import { heldBounds } from './bounds.ts';

export interface RouteAnswer {
  readonly status: number;
  /** For the client; undefined when there is nothing to tell. */
  readonly body: string | Buffer | undefined;
  /** Only `$connect`'s matters: the subprotocol that it chose. */
  readonly protocol: string | undefined;
}

/** @returns undefined when it is none, which API Gateway takes for a failure: no object with a status, or a body that is too large */
export function readAnswer(payload: Buffer): RouteAnswer | undefined {
  let given: unknown;
  try {
    given = JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof given !== 'object' || given === null || !('statusCode' in given)) return undefined;
  const status = Number(given.statusCode);
  if (!Number.isInteger(status) || status < 100 || status > 599) return undefined;
  const text = 'body' in given ? (given.body ?? '') : '';
  if (typeof text !== 'string') return undefined;
  const isBase64 = 'isBase64Encoded' in given && given.isBase64Encoded === true;
  const body = isBase64 ? Buffer.from(text, 'base64') : text;
  const headers = 'headers' in given ? given.headers : undefined;
  if (Buffer.byteLength(body) > heldBounds.messageBytes) return undefined;
  return { status, body: body.length === 0 ? undefined : body, protocol: protocolOf(headers) };
}

function protocolOf(headers: unknown): string | undefined {
  if (typeof headers !== 'object' || headers === null) return undefined;
  for (const [name, value] of Object.entries(headers)) {
    if (name.toLowerCase() === 'sec-websocket-protocol' && typeof value === 'string') return value;
  }
  return undefined;
}
