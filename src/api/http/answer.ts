// What a request is answered with, and its writing. Owns the headers that every answer has.
import type { ServerResponse } from 'node:http';

export type Answer =
  | { readonly status: number; readonly json: unknown; readonly headers?: Readonly<Record<string, string>> }
  | {
      readonly status: number;
      readonly bytes: Uint8Array | string;
      readonly mediaType: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly status: 204 }
  /** Takes the response over until it ends by itself. */
  | { readonly stream: (response: ServerResponse) => Promise<void> };

/** Nothing here is a page that others may frame, sniff or keep: answers are for their one caller. */
const commonHeaders = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
} as const;

export async function writeAnswer(response: ServerResponse, answer: Answer): Promise<void> {
  if ('stream' in answer) {
    await answer.stream(response);
    return;
  }
  if ('json' in answer) {
    const body = Buffer.from(JSON.stringify(answer.json));
    response.writeHead(answer.status, {
      ...commonHeaders,
      'Content-Type': 'application/json',
      'Content-Length': body.length,
      ...answer.headers,
    });
    response.end(body);
    return;
  }
  if ('bytes' in answer) {
    const body = Buffer.from(answer.bytes);
    response.writeHead(answer.status, {
      ...commonHeaders,
      'Content-Type': answer.mediaType,
      'Content-Length': body.length,
      ...answer.headers,
    });
    response.end(body);
    return;
  }
  response.writeHead(answer.status, commonHeaders);
  response.end();
}
