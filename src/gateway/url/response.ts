// What a function's answer means at its URL: payload format 2.0, or a bare value. Pure.
// What the function returns is user code's word: whatever can not be sent safely is no answer at all.
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { z } from 'zod';

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

const headerValue = z.union([z.string(), z.number(), z.boolean()]).transform(String);
/** Null stands for "not there" in many frameworks' answers. */
const orNothing = <T extends z.ZodType>(schema: T) =>
  schema.nullish().transform((value) => value ?? undefined);
const status = z.coerce.number().int().min(200).max(599);
const shared = {
  headers: orNothing(z.record(z.string(), orNothing(headerValue))),
  cookies: orNothing(z.array(z.string())),
};
const formatted = z.object({
  statusCode: status,
  ...shared,
  body: orNothing(headerValue),
  isBase64Encoded: orNothing(z.boolean()),
});
/** The head of a streamed answer. */
const prelude = z.object({ statusCode: orNothing(status), contentType: orNothing(z.string()), ...shared });

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
  if (typeof value !== 'object' || value === null || !('statusCode' in value)) {
    return {
      status: 200,
      headers: ['content-type', 'application/json', 'content-length', String(payload.length)],
      body: text,
    };
  }
  const parsed = formatted.safeParse(value);
  if (!parsed.success) return undefined;
  const { statusCode, headers: given, cookies, body: content = '', isBase64Encoded } = parsed.data;
  const headers = headerList(given, cookies, 'application/json');
  if (headers === undefined) return undefined;
  const body = isBase64Encoded === true ? Buffer.from(content, 'base64') : content;
  // Neither has a body, and a length would only mislead.
  if (statusCode === 204 || statusCode === 304) return { status: statusCode, headers, body: '' };
  headers.push('content-length', String(typeof body === 'string' ? Buffer.byteLength(body) : body.length));
  return { status: statusCode, headers, body };
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
  const parsed = prelude.safeParse(value);
  if (!parsed.success) return undefined;
  const { statusCode = 200, contentType = 'application/octet-stream', headers: given, cookies } = parsed.data;
  const headers = headerList(given, cookies, contentType);
  return headers === undefined ? undefined : { status: statusCode, headers };
}

function headerList(
  given: Readonly<Record<string, string | undefined>> | undefined,
  cookies: readonly string[] | undefined,
  defaultType: string,
): string[] | undefined {
  const list: string[] = [];
  let hasType = false;
  try {
    for (const [name, value] of Object.entries(given ?? {})) {
      const lower = name.toLowerCase();
      if (value === undefined || serverHeaders.has(lower)) continue;
      validateHeaderName(name);
      validateHeaderValue(name, value);
      if (lower === 'content-type') hasType = true;
      list.push(lower, value);
    }
    for (const cookie of cookies ?? []) {
      validateHeaderValue('set-cookie', cookie);
      list.push('set-cookie', cookie);
    }
  } catch {
    return undefined;
  }
  if (!hasType) list.push('content-type', defaultType);
  return list;
}
