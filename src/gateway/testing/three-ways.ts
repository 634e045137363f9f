// One and the same server reached in three ways: `straight` without a gateway, `direct` as an app of Node that is handed its
// clients' sockets, `tunnelled` as an app behind a port. For tests that compare what comes back. Owns the processes.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Harness, workloadOf } from './harness.ts';

export type Way = 'straight' | 'direct' | 'tunnelled';

export class ThreeWays {
  readonly harness: Harness;
  readonly #child: ChildProcess;
  readonly #port: number;
  readonly #open = new Set<Socket>();

  private constructor(harness: Harness, child: ChildProcess, port: number) {
    this.harness = harness;
    this.#child = child;
    this.#port = port;
  }

  /** @param code of a server that listens on `process.env.PORT` and then prints its port in a line */
  static async start(code: string): Promise<ThreeWays> {
    const harness = await new Harness().start();
    harness.deploy(workloadOf('direct', { kind: 'app' }));
    harness.deploy(workloadOf('tunnelled', { kind: 'app' }));
    const path = join(harness.root, 'server.cjs');
    writeFileSync(path, code);
    const child = spawn(process.execPath, [path], {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    const port = Number(line);
    await harness.startInstance('direct', { 'server.js': code }, { argv: ['server.js'] });
    harness.announce('i-port', 'tunnelled', { runDirectory: harness.root, mode: 'tcp', port });
    await harness.call('sync', {});
    return new ThreeWays(harness, child, port);
  }

  port(way: Way): number {
    return way === 'straight' ? this.#port : this.harness.port;
  }

  /** What stands before the server's own paths. */
  prefix(way: Way): string {
    return way === 'straight' ? '' : `/w/acme/${way}`;
  }

  /** A bare connection, whose sides end one by one. */
  connect(way: Way): Socket {
    const socket = connect({ port: this.port(way), host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    return socket;
  }

  async dispose(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    this.#child.kill();
    await this.harness.dispose();
  }
}
