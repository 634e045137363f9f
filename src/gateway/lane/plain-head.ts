// Recognises the heads of plain requests: a small subset of HTTP/1.1 in which nothing can be read in two ways.
// Pure. Whatever is not plain is no error here, it is simply for node:http's parser. So this may refuse anything,
// and must never accept what node:http would refuse or read differently (plain-head.test.ts compares the two).
import { HeaderBlock } from '../header-block.ts';

/** Well below what node:http takes, so that its own limit is never in question. */
export const maxPlainHeadBytes = 16 * 1024;
/** node:http drops headers after its two-thousandth; no plain request has a tenth of that. */
const maxPlainHeaders = 100;

/** HEAD is not among them: its answers have rules of their own. Nor are CONNECT and what is rare. */
const plainMethods: ReadonlySet<string> = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
/** A path, and maybe a query, of visible ASCII. No fragment, no absolute form, no asterisk. */
const plainTarget = /^\/[!"$-~]*$/;
/** A token; a colon; a value of visible ASCII with single blanks or tabs at most inside, so never folded and never empty. */
const plainHeader = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~]+(?:[ \t]+[!-~]+)*)$/;
/** Digits without a leading zero, up to 999,999 bytes: more never fits where the lane looks for a body. */
const plainLength = /^(?:0|[1-9]\d{0,5})$/;

/**
 * Headers with which a request is not plain: another framing of the body, a switch of protocol, something asked for
 * before the answer. `proxy-connection` is one more spelling of `connection` to node:http's parser.
 */
const notPlainHeaders: ReadonlySet<string> = new Set([
  'transfer-encoding',
  'expect',
  'upgrade',
  'http2-settings',
  'proxy-connection',
  'te',
  'trailer',
]);

/** The header lines of a plain request, read. */
export class PlainHeaders extends HeaderBlock {
  readonly text: string;
  readonly host: string;
  readonly contentLength: number;
  /** Whether the client keeps the connection open. */
  readonly keepAlive: boolean;

  constructor(
    raw: readonly string[],
    text: string,
    host: string,
    framing: { readonly contentLength: number; readonly keepAlive: boolean },
  ) {
    super(raw);
    this.text = text;
    this.host = host;
    this.contentLength = framing.contentLength;
    this.keepAlive = framing.keepAlive;
  }
}

export interface PlainHead {
  /** The whole of it but the empty line: who sends the same again means the same. */
  readonly text: string;
  readonly method: string;
  readonly target: string;
  readonly headers: PlainHeaders;
  /** Its length, with the empty line that ends it. */
  readonly bytes: number;
}

/**
 * @param text latin1, from the first byte of a request on
 * @param earlier the head of the request before on the same connection
 * @returns undefined when the head is not whole, or not plain
 */
export function readPlainHead(text: string, earlier: PlainHead | undefined): PlainHead | undefined {
  const headEnd = text.indexOf('\r\n\r\n');
  if (earlier !== undefined && headEnd === earlier.text.length && text.startsWith(earlier.text))
    return earlier;
  const lineEnd = text.indexOf('\r\n');
  // The first line end may be the one that ends a head without headers: it has no Host then.
  if (lineEnd < 0 || headEnd <= lineEnd || headEnd + 4 > maxPlainHeadBytes) return undefined;

  const methodEnd = text.indexOf(' ');
  const targetEnd = lineEnd - ' HTTP/1.1'.length;
  if (methodEnd < 0 || targetEnd <= methodEnd || !text.startsWith(' HTTP/1.1', targetEnd)) return undefined;
  const method = text.slice(0, methodEnd);
  const target = text.slice(methodEnd + 1, targetEnd);
  if (!plainMethods.has(method) || !plainTarget.test(target)) return undefined;

  const lines = text.slice(lineEnd + 2, headEnd);
  const headers = earlier?.headers.text === lines ? earlier.headers : readPlainHeaders(lines);
  return headers === undefined
    ? undefined
    : { text: text.slice(0, headEnd), method, target, headers, bytes: headEnd + 4 };
}

/** @param lines what is between the request line and the empty line, without the last line's end */
function readPlainHeaders(lines: string): PlainHeaders | undefined {
  const raw: string[] = [];
  let host: string | undefined;
  let contentLength: number | undefined;
  let connection: string | undefined;
  for (const line of lines.split('\r\n')) {
    const match = plainHeader.exec(line);
    const name = match?.[1];
    const value = match?.[2];
    if (name === undefined || value === undefined) return undefined;
    raw.push(name, value);
    const lowerName = name.toLowerCase();
    switch (lowerName) {
      case 'host':
        if (host !== undefined) return undefined;
        host = value;
        break;
      case 'content-length':
        if (contentLength !== undefined || !plainLength.test(value)) return undefined;
        contentLength = Number(value);
        break;
      case 'connection':
        if (connection !== undefined) return undefined;
        connection = value.toLowerCase();
        if (connection !== 'keep-alive' && connection !== 'close') return undefined;
        break;
      default:
        if (notPlainHeaders.has(lowerName)) return undefined;
    }
  }
  if (host === undefined || raw.length > 2 * maxPlainHeaders) return undefined;
  return new PlainHeaders(raw, lines, host, {
    contentLength: contentLength ?? 0,
    keepAlive: connection !== 'close',
  });
}
