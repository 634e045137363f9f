// What the gateway is measured beside: the app itself without anything in front of it, and proxies in front of that. Each has one
// thread, as the gateway has. Owns their processes and files.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, freePort } from '../../tests/support/bellows.ts';
import { installSystemPackages } from '../../scripts/system-packages.mjs';

export type Peer = 'bare' | 'http-proxy' | 'nginx' | 'haproxy';

const fileBeside = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const nginxConfig = (directory: string, port: number, bare: number): string => `
daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  upstream bare { server 127.0.0.1:${bare}; keepalive 64; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://bare; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;

const haproxyConfig = (port: number, bare: number): string => `
global
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
frontend front
  bind 127.0.0.1:${port}
  default_backend back
backend back
  server bare 127.0.0.1:${bare}
`;

export class Peers {
  readonly ports: ReadonlyMap<Peer, number>;
  /** Of the machine's packages, what could not be had. */
  readonly missing: readonly string[];
  readonly #processes: readonly ChildProcess[];
  readonly #directory: string;

  private constructor(
    ports: ReadonlyMap<Peer, number>,
    missing: readonly string[],
    processes: readonly ChildProcess[],
    directory: string,
  ) {
    this.ports = ports;
    this.missing = missing;
    this.#processes = processes;
    this.#directory = directory;
  }

  static async start(): Promise<Peers> {
    const missing = installSystemPackages(['nginx', 'haproxy']);
    const directory = mkdtempSync(join(tmpdir(), 'bellows-bench-'));
    const ports = new Map<Peer, number>();
    const processes: ChildProcess[] = [];
    const peers = new Peers(ports, missing, processes, directory);
    const run = async (peer: Peer, port: number, program: string, ...args: string[]): Promise<void> => {
      const env = { ...process.env, PORT: String(port) };
      processes.push(spawn(program, args, { env, stdio: ['ignore', 'ignore', 'inherit'] }));
      await eventually(() => answers(port), { what: () => `${peer} to listen` });
      ports.set(peer, port);
    };
    try {
      const bare = await freePort();
      await run('bare', bare, process.execPath, fileBeside('app/server.mjs'));
      const proxy = await freePort();
      // It uses what Node has deprecated, and says so.
      const proxyFile = ['--no-deprecation', fileBeside('http-proxy.mjs')];
      await run('http-proxy', proxy, process.execPath, ...proxyFile, `${proxy}`, `${bare}`);
      if (!missing.includes('nginx')) {
        const port = await freePort();
        const file = join(directory, 'nginx.conf');
        writeFileSync(file, nginxConfig(directory, port, bare));
        await run('nginx', port, 'nginx', '-p', directory, '-c', file, '-e', join(directory, 'error.log'));
      }
      if (!missing.includes('haproxy')) {
        const port = await freePort();
        const file = join(directory, 'haproxy.cfg');
        writeFileSync(file, haproxyConfig(port, bare));
        await run('haproxy', port, 'haproxy', '-db', '-q', '-f', file);
      }
    } catch (thrown) {
      await peers.stop();
      throw thrown;
    }
    return peers;
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#processes.map(
        (each) =>
          new Promise((resolve) => {
            if (each.exitCode !== null || each.signalCode !== null || !each.kill()) resolve(undefined);
            else each.once('exit', resolve);
          }),
      ),
    );
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
