// Runs a command line in this process against a small scripted server, and collects what it prints. For tests.
import { createServer, type IncomingMessage } from 'node:http';
import { Readable, Writable } from 'node:stream';
import { commands } from '../commands/index.ts';
import { Output } from '../output.ts';
import { runCommandLine } from '../program.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly stdin?: string;
  readonly signal?: AbortSignal;
}

export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const stdout = new Collector();
  const stderr = new Collector();
  const env = options.env ?? { BELLOWS_DATA: '/nonexistent/bellows' };
  const code = await runCommandLine(commands, argv, {
    out: new Output({ stdout, stderr }, env),
    env,
    stdin: Readable.from([Buffer.from(options.stdin ?? '')]),
    signal: options.signal ?? new AbortController().signal,
    version: '0.0.0-test',
  });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

class Collector extends Writable {
  text = '';

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

export interface Scripted {
  readonly url: string;
  readonly seen: Seen[];
  close(): Promise<void>;
}

export interface ScriptedAnswer {
  readonly status?: number;
  readonly json?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export async function scriptedServer(answer: (seen: Seen) => ScriptedAnswer): Promise<Scripted> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      const one = { method, url, headers, body: Buffer.concat(chunks) };
      seen.push(one);
      const { status = 200, json, text, headers: more } = answer(one);
      response.writeHead(status, { 'content-type': 'application/json', ...more });
      response.end(text ?? (json === undefined ? '' : JSON.stringify(json)));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
