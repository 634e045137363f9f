// One kept connection to /v1, for benches that time requests: `fetch` takes a millisecond of its own for each.
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Bellows } from '../tests/support/bellows.ts';

export interface KeptAnswer<T> {
  readonly body: T;
  readonly serverTiming: string;
}

export class KeptClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #port: number;
  readonly #token: string;

  constructor({ port, credentials }: Bellows) {
    this.#port = port;
    this.#token = credentials.adminToken;
  }

  send<T>(method: 'PATCH' | 'PUT', path: string, body: unknown): Promise<KeptAnswer<T>> {
    const headers = { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' };
    const options = { port: this.#port, method, path: `/v1${path}`, agent: this.#agent, headers };
    return new Promise((resolve, reject) => {
      request(options, (answer) => {
        text(answer).then((json) => {
          resolve({ body: JSON.parse(json) as T, serverTiming: String(answer.headers['server-timing']) });
        }, reject);
      })
        .on('error', reject)
        .end(JSON.stringify(body));
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
