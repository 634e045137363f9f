// Sends bytes that no HTTP client would, and reads whatever comes back.
import { connect } from 'node:net';

export interface RawAnswer {
  /** 0 when the connection ended without an answer. */
  readonly status: number;
  readonly body: string;
  /** How many answers came: more than one to one request is a request smuggled in. */
  readonly answers: number;
}

/** @param options.ends whether our side ends after the bytes. The answer is taken as whole after `quietMs` of silence. */
export async function sendRaw(
  port: number,
  bytes: string | Buffer,
  options: { readonly ends?: boolean; readonly quietMs?: number } = {},
): Promise<RawAnswer> {
  const text = await new Promise<string>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    let quiet: NodeJS.Timeout | undefined;
    const late = setTimeout(() => socket.destroy(), 60_000);
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      clearTimeout(quiet);
      quiet = setTimeout(() => socket.destroy(), options.quietMs ?? 500);
    });
    // A server that refuses may close while we still write.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      clearTimeout(quiet);
      resolve(received);
    });
    socket.write(bytes);
    if (options.ends === true) socket.end();
  });
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  return {
    status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0),
    body,
    answers: [...text.matchAll(/^HTTP\/1\.1 \d{3} /gm)].length,
  };
}
