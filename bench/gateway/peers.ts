// What the gateway is measured beside: the app itself without anything in front of it, proxies in front of that, each with one
// thread, as the gateway has, and others that run functions, as they are. Owns their processes and files.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, freePort } from '../../tests/support/bellows.ts';
import { installSystemPackages } from '../../scripts/system-packages.mjs';
import { installNpmPeers } from './npm-peers.ts';

export type Peer = 'bare' | 'http-proxy' | 'nginx' | 'haproxy' | NpmPeer;
type NpmPeer = 'serverless-offline' | 'serverless-offline, in process' | 'miniflare';

/** They load for seconds. */
const npmPeerReadyMs = 30_000;
/** A process that is asked to end and does not. */
const stopMs = 5_000;

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

async function offlineArguments(port: number, ...more: string[]): Promise<string[]> {
  const ports = ['--httpPort', `${port}`, '--lambdaPort', `${await freePort()}`];
  return [
    'node_modules/osls/bin/serverless.js',
    'offline',
    'start',
    '--host',
    '127.0.0.1',
    ...ports,
    ...more,
  ];
}

/** What Node is to run for each, in the directory where they are installed. */
const npmPeers: ReadonlyMap<NpmPeer, (port: number) => Promise<string[]>> = new Map([
  // As it is without options: a thread for each that runs at once.
  ['serverless-offline', (port) => offlineArguments(port)],
  ['serverless-offline, in process', (port) => offlineArguments(port, '--useInProcess')],
  ['miniflare', async (port) => ['worker.mjs', `${port}`]],
]);

export class Peers {
  readonly ports: ReadonlyMap<Peer, number>;
  /** Who could not be had, and why. */
  readonly missing: ReadonlyMap<Peer, string>;
  readonly #processes: ReadonlyMap<Peer, ChildProcess>;
  readonly #directory: string;

  private constructor(
    ports: ReadonlyMap<Peer, number>,
    missing: ReadonlyMap<Peer, string>,
    processes: ReadonlyMap<Peer, ChildProcess>,
    directory: string,
  ) {
    this.ports = ports;
    this.missing = missing;
    this.#processes = processes;
    this.#directory = directory;
  }

  static async start(): Promise<Peers> {
    const missing = new Map<Peer, string>();
    for (const name of installSystemPackages(['nginx', 'haproxy']))
      missing.set(name as Peer, 'it is not installed, and could not be');
    const npm = await installNpmPeers();
    const directory = mkdtempSync(join(tmpdir(), 'bellows-bench-'));
    const ports = new Map<Peer, number>();
    const processes = new Map<Peer, ChildProcess>();
    const peers = new Peers(ports, missing, processes, directory);
    const run = async (peer: Peer, port: number, program: string, ...args: string[]): Promise<void> => {
      const env = { ...process.env, PORT: String(port) };
      processes.set(peer, spawn(program, args, { env, stdio: ['ignore', 'ignore', 'inherit'] }));
      await eventually(() => answers(port), { what: () => `${peer} to listen` });
      ports.set(peer, port);
    };
    const runFromNpm = async (peer: NpmPeer, cwd: string, port: number, args: string[]): Promise<void> => {
      // They keep files of their own at home, and one writes a line for each request.
      const env = { ...process.env, HOME: directory };
      processes.set(peer, spawn(process.execPath, args, { cwd, env, stdio: 'ignore' }));
      try {
        await eventually(() => answers(port), { timeoutMs: npmPeerReadyMs });
        ports.set(peer, port);
      } catch {
        missing.set(peer, `it did not listen within ${npmPeerReadyMs / 1000} s`);
      }
    };
    try {
      const bare = await freePort();
      await run('bare', bare, process.execPath, fileBeside('app/server.mjs'));
      const proxy = await freePort();
      // It uses what Node has deprecated, and says so.
      const proxyFile = ['--no-deprecation', fileBeside('http-proxy.mjs')];
      await run('http-proxy', proxy, process.execPath, ...proxyFile, `${proxy}`, `${bare}`);
      if (!missing.has('nginx')) {
        const port = await freePort();
        const file = join(directory, 'nginx.conf');
        writeFileSync(file, nginxConfig(directory, port, bare));
        await run('nginx', port, 'nginx', '-p', directory, '-c', file, '-e', join(directory, 'error.log'));
      }
      if (!missing.has('haproxy')) {
        const port = await freePort();
        const file = join(directory, 'haproxy.cfg');
        writeFileSync(file, haproxyConfig(port, bare));
        await run('haproxy', port, 'haproxy', '-db', '-q', '-f', file);
      }
      for (const [peer, argsAt] of npmPeers) {
        if ('missing' in npm) missing.set(peer, npm.missing);
        else {
          const port = await freePort();
          await runFromNpm(peer, npm.directory, port, await argsAt(port));
        }
      }
    } catch (thrown) {
      await peers.stop();
      throw thrown;
    }
    return peers;
  }

  pidOf(peer: Peer): number | undefined {
    return this.#processes.get(peer)?.pid;
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.#processes.values()].map(
        (each) =>
          new Promise((resolve) => {
            if (each.exitCode !== null || each.signalCode !== null || !each.kill()) {
              resolve(undefined);
              return;
            }
            const late = setTimeout(() => each.kill('SIGKILL'), stopMs);
            each.once('exit', () => resolve(clearTimeout(late)));
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
