// Clients that check the certificate of Bellows' own authority: one request after the other over connections that are kept, by
// HTTP/1.1 and by HTTP/2. Nothing is tried again. Owns their connections.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type ClientHttp2Session } from 'node:http2';
import { request, type Agent } from 'node:https';
import { join } from 'node:path';
import type { Bellows } from './bellows.ts';

const localhost = { host: '127.0.0.1', servername: 'localhost' };

export function authorityOf(bellows: Bellows): Buffer {
  return readFileSync(join(bellows.dataDirectory, 'tls', 'ca.pem'));
}

/** By HTTP/1.1. @returns as `200 BODY` */
export function secureGet(agent: Agent, tlsPort: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ ...localhost, port: tlsPort, path, agent }, (answer) => {
      let text = `${answer.statusCode} `;
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.on('end', () => resolve(text)).on('error', reject);
    });
    outgoing.on('error', reject).end();
  });
}

/** By HTTP/2, over one connection until its server tells it to go. */
export class Http2Caller {
  readonly #tlsPort: number;
  readonly #ca: Buffer;
  #session: ClientHttp2Session | undefined;
  /** How many connections it has made. */
  connections = 0;

  constructor(tlsPort: number, ca: Buffer) {
    this.#tlsPort = tlsPort;
    this.#ca = ca;
  }

  /** @returns as `200 BODY` */
  async get(path: string): Promise<string> {
    const stream = this.#open().request({ ':path': path });
    const heard = once(stream, 'response') as Promise<[{ ':status'?: number }]>;
    let body = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
    const [[headers]] = await Promise.all([heard, once(stream, 'end')]);
    return `${headers[':status']} ${body}`;
  }

  #open(): ClientHttp2Session {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed)
      return this.#session;
    this.connections += 1;
    const session = connect(`https://localhost:${this.#tlsPort}`, { ...localhost, ca: this.#ca });
    // What a request under way hears as its own error.
    session.on('error', () => undefined);
    this.#session = session;
    return session;
  }

  close(): void {
    this.#session?.destroy();
  }
}
