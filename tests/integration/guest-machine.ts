// A guest for tests of the agent inside: booted by a plain QEMU, its own scratch disk, its door on a free port. What is
// tested is what is inside; the driver that makes units for Bellows is not used here.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
import type { InstanceId, UnitId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import type { InstanceSpec } from '../../src/protocol/agent.ts';
import { doorAnswer, doorPort, type DoorRequest } from '../../src/protocol/door.ts';
import { guestPortName, type GuestProtocol, type Identity } from '../../src/protocol/guest.ts';
import type { EventOf } from '../../src/protocol/rpc.ts';
import { FrameClient } from '../../src/runtime/testing/instance-client.ts';
import { processorsOf, threadsOfTranslation } from '../../src/units/vm/accelerator.ts';
import { qemuVersionOf } from '../../src/units/vm/host.ts';
import { buildGuestImage } from '../../src/units/vm/image/build.ts';
import { cpioArchive, type CpioEntry } from '../../src/units/vm/image/cpio.ts';
import { openGuestLink, type GuestLink } from '../../src/units/vm/link.ts';
import { QmpClient } from '../../src/units/vm/qmp/client.ts';
import { diskBytesFor } from '../../src/units/vm/scratch/scratch.ts';
import { shellPort } from './guest-shell.ts';

/** An emulated guest boots within some 15 s; a busy machine takes several times that. */
const bootTimeoutMs = 180_000;
/** What instances of these tests may store. */
export const storageBytes = 512 * mib;

/** Why there can be no guest here; undefined when there can. */
export function missingForGuests(): string | undefined {
  for (const program of ['qemu-system-x86_64', 'mkfs.ext4', 'mkfs.erofs', 'apt-get']) {
    const found = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, program)));
    if (!found) return `no ${program} here`;
  }
  return undefined;
}

export interface GuestMachineOptions {
  readonly ramBytes: number;
  /** What runs in place of the image's agent: a module of fixtures/. */
  readonly agent?: string;
  /** Added to what the guest starts from: files below /bellows come to /opt/bellows inside. */
  readonly extra?: readonly CpioEntry[];
}

/** A machine's state at one moment, to start others with: files. */
export interface Photograph {
  readonly options: GuestMachineOptions;
  readonly state: string;
  readonly scratch: string;
}

export class GuestMachine {
  readonly events: EventOf<GuestProtocol>[] = [];
  readonly directory: string;
  readonly link: GuestLink;
  readonly qmp: QmpClient;
  readonly scratch: string;
  readonly token = randomBytes(24).toString('base64url');
  readonly #options: GuestMachineOptions;
  readonly #qemu: ChildProcess;
  readonly #ports: Ports;

  private constructor(
    options: GuestMachineOptions,
    made: { directory: string; qemu: ChildProcess; qmp: QmpClient; ports: Ports; scratch: string },
  ) {
    this.#options = options;
    this.directory = made.directory;
    this.qmp = made.qmp;
    this.scratch = made.scratch;
    this.#qemu = made.qemu;
    this.#ports = made.ports;
    this.link = openGuestLink({
      socketPath: join(made.directory, 'agent'),
      onConnect: async () => {},
      onDisconnect: () => {},
      onEvent: (event) => this.events.push(event),
      // The agent is killed in some tests, in the middle of whatever it says.
      onDefect: () => {},
    });
  }

  /** @param from another machine's photograph, which this one begins as; default: it boots */
  static async boot(options: GuestMachineOptions, from?: Photograph): Promise<GuestMachine> {
    const image = await buildGuestImage();
    const qemuVersion = await qemuVersionOf('qemu-system-x86_64');
    const thread = threadsOfTranslation(qemuVersion);
    const cpus = processorsOf('tcg', qemuVersion, 2);
    const directory = mkdtempSync(join(tmpdir(), 'bellows-guest-'));
    let qemu: ChildProcess | undefined;
    try {
      const scratch = join(directory, 'scratch');
      if (from === undefined) {
        writeFileSync(scratch, '');
        truncateSync(scratch, diskBytesFor(storageBytes));
        await run('mkfs.ext4', '-q', '-F', '-m', '0', '-O', '^has_journal', '-E', 'nodiscard', scratch);
      } else await run('cp', '--sparse=always', from.scratch, scratch);
      const initrd = join(directory, 'initrd');
      writeFileSync(initrd, Buffer.concat([readFileSync(image.initrd), ...(await added(options))]));
      const ports = { door: await freePort(), shell: await freePort() };
      const forwards = `hostfwd=tcp:127.0.0.1:${ports.door}-:${doorPort},hostfwd=tcp:127.0.0.1:${ports.shell}-:${shellPort}`;
      qemu = spawn('nice', [
        ...['-n', '10', 'qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none'],
        ...['-machine', 'pc,vmport=off,usb=off,graphics=off', '-cpu', 'max', '-smp', String(cpus)],
        ...['-accel', `tcg,thread=${thread},tb-size=64`, '-m', `${options.ramBytes / mib}M`],
        ...['-kernel', image.kernel, '-initrd', initrd, '-append', image.commandLine, '-no-reboot'],
        ...['-serial', `file:${join(directory, 'console')}`],
        ...['-qmp', `unix:${join(directory, 'qmp')},server=on,wait=off`],
        ...['-drive', `file=${image.root},if=virtio,format=raw,readonly=on,file.locking=off`],
        ...['-drive', `file=${scratch},if=virtio,format=raw,discard=unmap`],
        ...['-device', 'virtio-serial-pci'],
        ...['-chardev', `socket,id=agent,path=${join(directory, 'agent')},server=on,wait=off`],
        ...['-device', `virtserialport,chardev=agent,name=${guestPortName}`],
        ...['-device', 'virtio-balloon-pci,deflate-on-oom=on,free-page-reporting=on'],
        ...['-device', 'virtio-rng-pci'],
        ...['-netdev', `user,id=net,ipv6=off,${forwards}`],
        ...['-device', 'virtio-net-pci,netdev=net,romfile='],
        ...(from === undefined ? [] : ['-incoming', `exec:cat ${from.state}`]),
      ]);
      const ended = once(qemu, 'exit').then(() => Promise.reject(new Error('QEMU ended')));
      ended.catch(() => undefined);
      const qmp = await Promise.race([reachable(join(directory, 'qmp')), ended]);
      if (from !== undefined) {
        while ((await qmp.execute('query-status', {})).status !== 'paused') await sleep(20);
        await qmp.execute('cont', {});
      }
      return new GuestMachine(options, { directory, qemu, qmp, ports, scratch });
    } catch (thrown) {
      qemu?.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
      throw thrown;
    }
  }

  /** Its state, and that of its disk, into files of its directory. It stands still from then on. */
  async photograph(): Promise<Photograph> {
    const state = join(this.directory, 'state');
    await this.qmp.execute('stop', {});
    // QEMU's own bound is for networks.
    await this.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 });
    await this.qmp.execute('migrate', { uri: `exec:cat >${state}` });
    for (let status = ''; status !== 'completed'; await sleep(20)) {
      const told = await this.qmp.execute('query-migrate', {});
      if (told.status === 'failed') throw new Error(`no photograph: ${told['error-desc']}`);
      status = told.status ?? '';
    }
    return { options: this.#options, state, scratch: this.scratch };
  }

  /** Resolves when the agent answers. */
  async ready(): Promise<void> {
    try {
      await this.link.call('hello', {}, { timeoutMs: bootTimeoutMs });
    } catch (thrown) {
      throw new Error(`the guest did not start; its console: ${this.console().slice(-2000)}`, {
        cause: thrown,
      });
    }
  }

  console(): string {
    return readFileSync(join(this.directory, 'console'), 'latin1');
  }

  identity(change: Partial<Identity> = {}): Identity {
    return {
      unit: 'u-guest' as UnitId,
      seed: randomBytes(64).toString('base64'),
      nowMs: Date.now(),
      doorToken: this.token,
      network: null,
      ownPort: null,
      ...change,
    };
  }

  /** A connection through the door, opened. */
  async through(to: DoorRequest['to'], token = this.token): Promise<Socket> {
    const socket = connect({ host: '127.0.0.1', port: this.#ports.door, allowHalfOpen: true });
    socket.write(`${JSON.stringify({ token, to })}\n`);
    await opened(socket);
    return socket;
  }

  /** Sends a workload's code; answers the place outside that it stands for. */
  async sendCode(tenant: string, files: Readonly<Record<string, string>>): Promise<string> {
    const source = mkdtempSync(join(this.directory, 'code-'));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(source, name), content);
    const sha256 = randomBytes(32).toString('hex');
    const socket = await this.through({ kind: 'code', tenant, sha256 });
    const tar = spawn('tar', ['-c', '-C', source, '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
    tar.stdout.pipe(socket);
    await opened(socket);
    socket.destroy();
    return `/outside/code/${tenant}/${sha256}`;
  }

  async startFunction(spec: InstanceSpec): Promise<void> {
    const { tenant, uid } = spec;
    await this.link.call('ensureTenant', { tenant, uid, memoryBytes: null, cpuMillicores: null, weight: 1 });
    const result = await this.link.call('start', spec, { timeoutMs: 60_000 });
    if (result.outcome === 'failed') throw new Error(JSON.stringify(result.error));
  }

  /** Runs JavaScript in an instance whose code is `evalHandler`. */
  async evaluate(instance: InstanceId, js: string, timeoutMs = 60_000): Promise<unknown> {
    const client = new FrameClient(await this.through({ kind: 'socket', instance, socket: 'frames' }));
    client.socket.resume();
    try {
      const answer = (await client.invoke({ js }, { timeoutMs })).json() as {
        value?: unknown;
        error?: string;
      };
      if (answer.error !== undefined) throw new Error(answer.error);
      return answer.value;
    } finally {
      client.socket.destroy();
    }
  }

  /** Runs a command inside, as root, and answers what it wrote; `random`: bytes of the agent's own generator. */
  async shell(command: string): Promise<string> {
    const socket = connect({ host: '127.0.0.1', port: this.#ports.shell, allowHalfOpen: true });
    socket.end(command);
    return (await text(socket)).trim();
  }

  /** QEMU's resident memory on the host that nobody else shares. */
  hostBytes(): number {
    const smaps = readFileSync(`/proc/${this.#qemu.pid}/smaps_rollup`, 'latin1');
    const field = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(smaps)?.[1] ?? 0);
    return (field('Private_Dirty') + field('Private_Clean')) * 1024;
  }

  /** Inflates or deflates until the guest has that much; answers what it has by QEMU's word. */
  async balloonTo(bytes: number, timeoutMs = 30_000): Promise<number> {
    await this.qmp.execute('balloon', { value: bytes });
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const { actual } = await this.qmp.execute('query-balloon', {});
      if (actual === bytes || Date.now() > deadline) return actual;
      await sleep(50);
    }
  }

  async close(): Promise<void> {
    this.link.close();
    this.qmp.close();
    const exited = once(this.#qemu, 'exit');
    if (this.#qemu.exitCode === null && this.#qemu.kill('SIGKILL')) await exited;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

interface Ports {
  readonly door: number;
  readonly shell: number;
}

/** Follows the image's archive: the kernel unpacks all into one tree, later files in place of earlier ones. */
async function added({ agent, extra = [] }: GuestMachineOptions): Promise<Buffer[]> {
  const entries = agent === undefined ? extra : [...extra, await bundledAgent(agent)];
  return entries.length === 0 ? [] : [cpioArchive(entries)];
}

export async function bundledAgent(fixture: string): Promise<CpioEntry> {
  const { output } = await build({
    input: fileURLToPath(new URL(`fixtures/${fixture}`, import.meta.url)),
    platform: 'node',
    write: false,
    logLevel: 'warn',
    output: { format: 'esm', codeSplitting: false },
  });
  const content = Buffer.from(output[0].code);
  return { path: 'bellows/agent/main.js', type: 'file', mode: 0o644, content };
}

/** @throws Error with the door's words when it stays shut */
async function opened(socket: Socket): Promise<void> {
  const { error } = doorAnswer.parse(JSON.parse(await nextLine(socket)));
  if (error === undefined) return;
  socket.destroy();
  throw new Error(error);
}

/** The next line that arrives; what is behind it stays in the socket. */
async function nextLine(socket: Socket): Promise<string> {
  let text = Buffer.alloc(0);
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text = Buffer.concat([text, chunk as Buffer]);
    const end = text.indexOf('\n');
    if (end < 0) continue;
    if (end + 1 < text.length) socket.unshift(text.subarray(end + 1));
    return text.subarray(0, end).toString();
  }
  throw new Error(`the connection ended after ${JSON.stringify(text.toString())}`);
}

async function reachable(path: string): Promise<QmpClient> {
  for (;;) {
    try {
      return await QmpClient.connect(path, { name: 'QEMU of a test' });
    } catch {
      await sleep(50);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function run(program: string, ...args: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}
