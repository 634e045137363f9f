// A gateway that serves TLS with an app behind it, which answers as the test says, and clients that trust the gateway's authority.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { Harness, workloadOf } from './harness.ts';

/** The app's. */
export const host = 'site.acme.localhost';

export class SecureSite {
  readonly harness = new Harness();
  /** What the app does. */
  serve: RequestListener = (_request, response) => response.end('ok');
  readonly app = createServer((request, response) => this.serve(request, response));
  readonly #sessions: ClientHttp2Session[] = [];

  static async start(): Promise<SecureSite> {
    const site = new SecureSite();
    await site.#start();
    return site;
  }

  async #start(): Promise<void> {
    await once(this.app.listen(0, '127.0.0.1'), 'listening');
    const { harness } = this;
    harness.config = { tls: { port: 0 } };
    await harness.start();
    harness.deploy(workloadOf('site', { kind: 'app' }));
    const { port } = this.app.address() as AddressInfo;
    harness.announce('i-plain', 'site', { runDirectory: harness.root, mode: 'tcp', port });
  }

  async close(): Promise<void> {
    for (const session of this.#sessions.splice(0)) session.destroy();
    this.app.closeAllConnections();
    this.app.close();
    await this.harness.dispose();
  }

  get authority(): Buffer {
    return readFileSync(join(this.harness.root, 'tls', 'ca.pem'));
  }

  tls(options: ConnectionOptions = {}): TLSSocket {
    return connectTls({
      host: '127.0.0.1',
      port: this.harness.tlsPort,
      servername: host,
      ca: this.authority,
      ...options,
    });
  }

  /** A connection of HTTP/2 that checked the certificate of the app's host. */
  http2(): ClientHttp2Session {
    const session = connectHttp2(`https://${host}:${this.harness.tlsPort}`, {
      ca: this.authority,
      // What a test sends at once is counted, too.
      maxSessionMemory: 100,
      createConnection: () => this.tls({ ALPNProtocols: ['h2'] }),
    });
    session.on('error', () => undefined);
    this.#sessions.push(session);
    return session;
  }
}

interface Http2Answer {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  readonly trailers: Readonly<Record<string, unknown>>;
}

export async function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  let trailers = {};
  stream.on('trailers', (received) => (trailers = received));
  const heard = once(stream, 'response') as Promise<[Record<string, unknown>]>;
  let body = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
  const [[headers]] = await Promise.all([heard, once(stream, 'end')]);
  return { headers, body, trailers };
}

/** Answers with what it was asked. */
export const echo: RequestListener = (request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () =>
    response.end(
      JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body }),
    ),
  );
};
