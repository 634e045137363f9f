// Starts a whole Bellows as a user would, on a free port with a data directory of its own, and takes it down again.
// Owns nothing of what tests assert.
import { spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LambdaClient, type LambdaClientConfig } from '@aws-sdk/client-lambda';
import { endLeftovers } from './leftovers.ts';

export const projectRoot = fileURLToPath(new URL('../..', import.meta.url));

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface CredentialsFile {
  readonly adminToken: string;
  readonly tenants: Readonly<Record<string, Credentials>>;
}

/** An answer of /v1 with its status. */
export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

export interface StartOptions {
  readonly args?: readonly string[];
  /** A copy of this checkout, whose code is to be run; this one by default. */
  readonly root?: string;
  readonly dataDirectory?: string;
  readonly port?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Of another user, who is to run it; only root can ask for one. */
  readonly uid?: number;
  /** How long it may take to be ready; virtual machines need their image first. */
  readonly readyMs?: number;
}

/** Node, run by this user: without rights, groups and a home of root's. */
export function commandAs(uid: number | undefined): [string, ...string[]] {
  if (uid === undefined) return [process.execPath];
  const user = [
    '--reuid',
    String(uid),
    '--regid',
    String(uid),
    '--clear-groups',
    '--inh-caps=-all',
    '--no-new-privs',
  ];
  return ['setpriv', ...user, '--', process.execPath];
}

export class Bellows {
  readonly port: number;
  readonly dataDirectory: string;
  readonly process: ChildProcess;
  #output = '';

  private constructor(port: number, dataDirectory: string, process: ChildProcess) {
    this.port = port;
    this.dataDirectory = dataDirectory;
    this.process = process;
    const collect = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-100_000);
    };
    process.stdout?.on('data', collect);
    process.stderr?.on('data', collect);
  }

  static async start(options: StartOptions = {}): Promise<Bellows> {
    const port = options.port ?? (await freePort());
    const dataDirectory = options.dataDirectory ?? mkdtempSync(join(tmpdir(), 'bellows-e2e-'));
    const given = options.args ?? ['--no-examples'];
    // Whatever machine this is: gateways.test.ts shows what is so with several.
    const args = given.includes('--gateways') ? given : [...given, '--gateways', '1'];
    if (options.uid !== undefined) chownSync(dataDirectory, options.uid, options.uid);
    const [program, ...before] = commandAs(options.uid);
    const child = spawn(
      program,
      [
        ...before,
        join(options.root ?? projectRoot, 'bin', 'bellows.js'),
        'up',
        '--port',
        String(port),
        '--data',
        dataDirectory,
        ...args,
      ],
      { cwd: projectRoot, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } },
    );
    const bellows = new Bellows(port, dataDirectory, child);
    try {
      await bellows.#ready(options.readyMs ?? 60_000);
    } catch (thrown) {
      // Nobody gets it to stop it.
      if (bellows.#ended && options.dataDirectory === undefined)
        rmSync(dataDirectory, { recursive: true, force: true });
      throw thrown;
    }
    return bellows;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What it printed so far. */
  get output(): string {
    return this.#output;
  }

  get credentials(): CredentialsFile {
    return JSON.parse(readFileSync(join(this.dataDirectory, 'credentials.json'), 'utf8')) as CredentialsFile;
  }

  async #ready(timeoutMs: number): Promise<void> {
    await eventually(
      async () => {
        if (this.#ended) return true;
        // Not only that something answers: after a crash that may be the one before.
        if (!this.#output.includes('Bellows is ready')) return false;
        const answer = await fetch(`${this.url}/healthz`);
        const health = (await answer.json()) as { status: string };
        return (
          answer.ok && health.status === 'ok' && existsSync(join(this.dataDirectory, 'credentials.json'))
        );
      },
      { timeoutMs, what: () => `bellows up to answer:\n${this.#output}` },
    );
    if (this.#ended) throw new Error(`bellows up ended with ${this.process.exitCode}:\n${this.#output}`);
  }

  get #ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  lambda(tenant = 'default', config: Partial<LambdaClientConfig> = {}): LambdaClient {
    const credentials = this.credentials.tenants[tenant];
    if (credentials === undefined) throw new Error(`no credentials for ${tenant}`);
    return new LambdaClient({
      endpoint: this.url,
      region: 'us-east-1',
      credentials,
      maxAttempts: 1,
      ...config,
    });
  }

  async v1<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const raw = body instanceof Uint8Array;
    const answer = await fetch(`${this.url}/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.credentials.adminToken}`,
        ...(body === undefined
          ? {}
          : { 'content-type': raw ? 'application/octet-stream' : 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: raw ? new Uint8Array(body) : JSON.stringify(body) }),
    });
    const text = await answer.text();
    return {
      status: answer.status,
      headers: answer.headers,
      body: (text === '' ? undefined : JSON.parse(text)) as T,
    };
  }

  async instances(): Promise<InstanceAnswer[]> {
    const { body } = await this.v1<{ instances: InstanceAnswer[] } | InstanceAnswer[]>('GET', '/instances');
    return Array.isArray(body) ? body : body.instances;
  }

  async removeWorkloads(): Promise<void> {
    const { body } = await this.v1<{ tenant: string; name: string }[]>('GET', '/workloads');
    await Promise.all(body.map(({ tenant, name }) => this.v1('DELETE', `/workloads/${tenant}/${name}`)));
  }

  /** Runs the command line against this Bellows. */
  async cli(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    return runCli(args, { BELLOWS_DATA: this.dataDirectory });
  }

  /** The processes of this Bellows by role, by their titles and parent. */
  pidOf(role: 'controller' | 'gateway' | 'agent' | 'units'): number | undefined {
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      const stat = readIfThere(`/proc/${pid}/stat`);
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (parent === this.process.pid && readIfThere(`/proc/${pid}/cmdline`).startsWith(`bellows-${role}`))
        return pid;
    }
    return undefined;
  }

  /** Orderly stop, as Ctrl-C does. Removes the data directory unless told to keep it. */
  async stop(options: { readonly keepData?: boolean } = {}): Promise<number | null> {
    if (!this.#ended) {
      const ended = new Promise<void>((resolve) => this.process.once('exit', () => resolve()));
      this.process.kill('SIGINT');
      const late = setTimeout(() => this.process.kill('SIGKILL'), 60_000);
      await ended;
      clearTimeout(late);
    }
    // By itself it leaves nothing, which leaves-nothing.test.ts shows; a killed one leaves all that it ran, and one that says
    // so what was too slow to end.
    const left = this.process.exitCode !== 0 || this.#output.includes('could not end all instances');
    if (left) await endLeftovers(this.dataDirectory);
    if (options.keepData !== true) rmSync(this.dataDirectory, { recursive: true, force: true });
    return this.process.exitCode;
  }
}

export interface InstanceAnswer {
  readonly id: string;
  readonly tenant: string;
  readonly workload: string;
  readonly unit: string;
  readonly state: string;
  readonly pid: number;
  /** In a virtual machine: its process here. */
  readonly unitPid?: number;
  readonly connections: number;
  readonly memory: {
    readonly demand: string;
    readonly grant: string;
    readonly used: string;
    readonly claimed: string;
    /** While a part of it is lent. */
    readonly promised?: string;
    readonly requested?: string;
    readonly strain?: string;
    readonly reason?: string;
  };
  readonly cpu: {
    readonly demand: string;
    readonly grant: string;
    readonly used: string;
    readonly claimed: string;
  };
}

export async function runCli(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(projectRoot, 'bin', 'bellows.js'), ...args], {
    cwd: projectRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}

export function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** As long as `expect.poll` looks (vitest.config.ts): what comes at once comes late on a busy machine. */
const patienceMs = 20_000;

/**
 * Asks again until `check` is true; what it throws counts as "not yet" and is shown when time is up.
 * @param options.what is waited for, and how far it has come; without it a failure shows the check itself
 */
export async function eventually(
  check: () => boolean | Promise<boolean>,
  options: { readonly timeoutMs?: number; readonly everyMs?: number; readonly what?: () => string } = {},
): Promise<void> {
  const end = Date.now() + (options.timeoutMs ?? patienceMs);
  let last: unknown;
  for (;;) {
    try {
      if (await check()) return;
      last = undefined;
    } catch (thrown) {
      last = thrown;
    }
    if (Date.now() > end) {
      const cause = last === undefined ? {} : { cause: last };
      throw new Error(
        `waited in vain for ${options.what?.() ?? check.toString()}${last === undefined ? '' : `: ${last instanceof Error ? last.message : JSON.stringify(last)}`}`,
        cause,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 50));
  }
}
