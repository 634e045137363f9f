// What a function's answer means at its URL: payload format 2.0, or a bare value. Pure.
// What the function returns is user code's word: whatever can not be sent safely is no answer at all.
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { integrationContentType } from '../../protocol/instance.ts';

export interface UrlResponse {
  readonly status: number;
  /** Names and values in turn; the content's length is in it. */
  readonly headers: string[];
  readonly body: string | Buffer;
}

/** Set by the server that sends the answer, not by the function. */
const serverHeaders = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** A handler's object, after it was found to be one. Checked by hand, since this is on the way of every request. */
type Loose = Readonly<Record<string, unknown>>;

/** Numbers and booleans are taken as their text; undefined for what is no text at all. */
function textOf(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
    case 'boolean':
      return String(value);
    default:
      return undefined;
  }
}

/** @returns undefined when it is no final HTTP status */
function statusOf(value: unknown): number | undefined {
  const status = typeof value === 'string' && /^\d{3}$/.test(value) ? Number(value) : value;
  return typeof status === 'number' && Number.isInteger(status) && status >= 200 && status <= 599
    ? status
    : undefined;
}

function isObject(value: unknown): value is Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Reads a handler's value.
 * @param payload its JSON
 * @returns undefined when it has a `statusCode` but is no valid answer: the client then gets 502
 */
export function readResponse(payload: Buffer): UrlResponse | undefined {
  const text = payload.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  // Without a status it is a bare value: sent as it is, as JSON.
  if (!isObject(value) || value['statusCode'] === undefined) {
    return {
      status: 200,
      headers: ['content-type', 'application/json', 'content-length', String(payload.length)],
      body: text,
    };
  }
  const status = statusOf(value['statusCode']);
  const headers = headerList(value, 'application/json');
  // Null stands for "not there" in many frameworks' answers.
  const content = textOf(value['body'] ?? '');
  if (status === undefined || headers === undefined || content === undefined) return undefined;
  const body = value['isBase64Encoded'] === true ? Buffer.from(content, 'base64') : content;
  // Neither has a body, and a length would only mislead.
  if (status === 204 || status === 304) return { status, headers, body: '' };
  headers.push('content-length', String(typeof body === 'string' ? Buffer.byteLength(body) : body.length));
  return { status, headers, body };
}

/** Reads the head of a streamed answer; undefined when it is not valid. */
export function readPrelude(
  payload: Buffer,
): { readonly status: number; readonly headers: string[] } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const status = statusOf(value['statusCode'] ?? 200);
  const contentType = textOf(value['contentType']);
  // The integration's is a word between handler and runtime, and no type of what a client is sent.
  const told = contentType === integrationContentType ? undefined : contentType;
  const headers = headerList(value, told ?? 'application/octet-stream');
  return status === undefined || headers === undefined ? undefined : { status, headers };
}

/** Undefined when a name or a value can not stand in a head. */
function headerList(answer: Loose, defaultType: string): string[] | undefined {
  const given = answer['headers'] ?? {};
  const cookies = answer['cookies'] ?? [];
  if (!isObject(given) || !Array.isArray(cookies)) return undefined;
  const list: string[] = [];
  let hasType = false;
  try {
    for (const name of Object.keys(given)) {
      const lower = name.toLowerCase();
      const value = textOf(given[name] ?? undefined);
      if (value === undefined) {
        if (given[name] === undefined || given[name] === null) continue;
        return undefined;
      }
      if (serverHeaders.has(lower)) continue;
      validateHeaderName(name);
      validateHeaderValue(name, value);
      if (lower === 'content-type') hasType = true;
      list.push(lower, value);
    }
    for (const cookie of cookies as unknown[]) {
      if (typeof cookie !== 'string') return undefined;
      validateHeaderValue('set-cookie', cookie);
      list.push('set-cookie', cookie);
    }
    if (!hasType) {
      validateHeaderValue('content-type', defaultType);
      list.push('content-type', defaultType);
    }
    return list;
  } catch {
    return undefined;
  }
}
