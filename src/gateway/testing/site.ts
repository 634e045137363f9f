// An app named `site` behind a gateway of its own for each test of a file: plain servers as its instances, and clients that send
// bytes as they are. Owns their beginning and their end; nothing of what tests assert.
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach } from 'vitest';
import { Harness, workloadOf } from './harness.ts';

/** Upgrades to what sends every byte back, and says what it was asked. */
export const echoServer = `
  const { createServer } = require('http');
  const server = createServer();
  server.on('upgrade', (request, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\nX-Url: ' + request.url + '\\r\\nX-From: ' + request.headers['x-forwarded-for'] + '\\r\\n\\r\\n');
    if (head.length) socket.write(head);
    socket.pipe(socket);
  });
  server.listen(process.env.PORT);`;

/** To the echo server. */
export const upgrade = `GET /w/acme/site/chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`;

export class Site {
  #harness: Harness | undefined;
  readonly #servers: Server[] = [];
  readonly #clients: Socket[] = [];

  constructor() {
    beforeEach(async () => {
      this.#harness = await new Harness().start({}, (request, response) =>
        response.end(`controller ${request.method} ${request.url}`),
      );
      this.#harness.deploy(workloadOf('site', { kind: 'app' }));
    });
    afterEach(async () => {
      for (const client of this.#clients.splice(0)) client.destroy();
      for (const server of this.#servers.splice(0)) {
        server.closeAllConnections();
        server.close();
      }
      await this.#harness?.dispose();
    });
  }

  get harness(): Harness {
    if (this.#harness === undefined) throw new Error('there is a gateway only while a test runs');
    return this.#harness;
  }

  at(path = '/'): string {
    return `${this.harness.url}/w/acme/site${path}`;
  }

  /** A plain server behind a port, as an app in any language is. */
  async plainApp(listener: RequestListener, id = 'i-plain'): Promise<Server> {
    const server = createServer(listener).listen(0, '127.0.0.1');
    this.#servers.push(server);
    await once(server, 'listening');
    this.harness.announce(id, 'site', {
      runDirectory: this.harness.root,
      mode: 'tcp',
      port: (server.address() as AddressInfo).port,
    });
    return server;
  }

  /** One whose sockets are handed over. */
  async echoApp(): Promise<void> {
    await this.harness.startInstance('site', { 'server.js': echoServer }, { argv: ['server.js'] });
  }

  /** Sends bytes as they are, with pauses of so many milliseconds, and collects what comes back until the connection ends. */
  raw(...parts: (string | Buffer | number)[]): { readonly socket: Socket; readonly text: Promise<string> } {
    const socket = connect({ port: this.harness.port, host: '127.0.0.1', allowHalfOpen: true });
    this.#clients.push(socket);
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk));
    socket.on('error', () => {});
    void (async () => {
      for (const part of parts) {
        if (typeof part === 'number') await sleep(part);
        else socket.write(part);
      }
    })();
    return {
      socket,
      text: new Promise((resolve) =>
        socket.once('close', () => resolve(text)).once('end', () => socket.end()),
      ),
    };
  }
}
