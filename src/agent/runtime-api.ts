// An instance's Runtime API address (AWS_LAMBDA_RUNTIME_API): tells it its grant (MISSION E5) over HTTP on the loopback
// device. Only connections of the tenant's own user are answered. With network `none` it can not be reached from inside:
// the grant file says the same there.
//
//   GET /bellows/v1/grant                               the present notice
//   GET /bellows/v1/grant?after=GENERATION&wait=SECONDS  the first notice after that one, or the present one after the wait
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { GrantBook } from './grants.ts';
import { ownerOfConnection } from './socket-owner.ts';

/** Longer than any change of grant takes; proxies and clients commonly give up after a minute. */
const longestWaitSeconds = 55;
/** One instance has few reasons for more connections than that; each costs the agent memory. */
const maxConnections = 32;

export interface RuntimeApiTenant {
  readonly uid: number;
  readonly grants: GrantBook;
}

export class RuntimeApi {
  readonly #server: Server;
  readonly #allowed = new WeakMap<Socket, Promise<boolean>>();
  #tenant: RuntimeApiTenant | undefined;

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.maxConnections = maxConnections;
    // An agent that ends does not wait for its instances' connections.
    this.#server.unref();
  }

  /** Listens on `port`, which the instance was told; 0 chooses one. Null when that port is taken now. */
  static async listen(port: number): Promise<RuntimeApi | null> {
    const api = new RuntimeApi();
    const listening = await new Promise<boolean>((resolve) => {
      api.#server.once('error', () => resolve(false));
      api.#server.listen(port, '127.0.0.1', () => resolve(true));
    });
    return listening ? api : null;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on it serves this tenant; before, nobody. */
  serve(tenant: RuntimeApiTenant): void {
    this.#tenant = tenant;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://runtime');
    const tenant = this.#tenant;
    if (tenant === undefined || !(await this.#isAllowed(request.socket, tenant.uid))) {
      send(response, 403, { message: 'This address answers only to the instance that it was made for.' });
    } else if (url.pathname !== '/bellows/v1/grant') {
      send(response, 404, { message: 'There is GET /bellows/v1/grant here.' });
    } else if (request.method !== 'GET') {
      send(response, 405, { message: 'Use GET.' });
    } else {
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      const generation = wholeNumber(url.searchParams.get('after'));
      const waitSeconds = Math.min(longestWaitSeconds, wholeNumber(url.searchParams.get('wait')) ?? 0);
      const notice =
        generation === undefined
          ? tenant.grants.notice
          : await tenant.grants.after(generation, waitSeconds * 1000, gone.signal);
      send(response, 200, notice);
    }
  }

  /** Once for each connection: a socket keeps its owner. */
  #isAllowed(socket: Socket, uid: number): Promise<boolean> {
    const known = this.#allowed.get(socket);
    if (known !== undefined) return known;
    const looked = ownerOfConnection(socket.remotePort ?? 0, this.port).then((owner) => owner === uid);
    this.#allowed.set(socket, looked);
    return looked;
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}

function wholeNumber(text: string | null): number | undefined {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
