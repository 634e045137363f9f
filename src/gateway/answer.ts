// Answers that the gateway itself gives: errors as JSON, over a response or over a bare socket. Owns their shape.
import type { Duplex } from 'node:stream';
import type { BellowsError, ErrorRecord } from '../base/errors.ts';
import type { Answer } from './exchange.ts';

/** Sends a whole JSON answer; nothing when the client is gone or an answer has begun. */
export function sendJson(
  response: Answer,
  status: number,
  body: unknown,
  headers: readonly string[] = [],
): void {
  if (response.destroyed) return;
  if (response.headersSent) {
    // Half an answer can not be taken back; cutting it off at least shows that it is not whole.
    response.destroy();
    return;
  }
  const text = JSON.stringify(body);
  response.writeHead(status, [
    'Content-Type',
    'application/json',
    'Content-Length',
    String(Buffer.byteLength(text)),
    ...headers,
  ]);
  response.end(text);
}

/** Sends an error with its code's status. @param retryAfterSeconds when the client may come again */
export function sendError(response: Answer, error: BellowsError, retryAfterSeconds?: number): void {
  const headers = retryAfterSeconds === undefined ? [] : ['Retry-After', String(retryAfterSeconds)];
  sendJson(response, error.status, { error: error.toRecord() }, headers);
}

/** The same where there is no response object: a failed upgrade, or bytes that are no HTTP. Ends the connection. */
export function endWithError(
  socket: Duplex,
  status: number,
  reasonPhrase: string,
  record: ErrorRecord,
  headers: readonly string[] = [],
): void {
  if (!socket.writable || socket.destroyed) {
    socket.destroy();
    return;
  }
  const text = JSON.stringify({ error: record });
  let head = `HTTP/1.1 ${status} ${reasonPhrase}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n`;
  for (let index = 0; index + 1 < headers.length; index += 2)
    head += `${headers[index]}: ${headers[index + 1]}\r\n`;
  socket.end(`${head}\r\n${text}`, () => socket.destroy());
}
