// A guest for tests of the agent inside: booted by a plain QEMU, its own scratch disk, its door on a free port. What is
// tested is what is inside; the driver that makes units for Bellows is not used here.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { UnitId } from '../../src/base/ids.ts';
import { mib } from '../../src/base/quantity.ts';
import { doorAnswer, doorPort, type DoorRequest } from '../../src/protocol/door.ts';
import { guestPortName, type GuestProtocol, type Identity } from '../../src/protocol/guest.ts';
import type { EventOf } from '../../src/protocol/rpc.ts';
import { buildGuestImage } from '../../src/units/vm/image/build.ts';
import { cpioArchive, type CpioEntry } from '../../src/units/vm/image/cpio.ts';
import type { GuestImage } from '../../src/units/vm/image/port.ts';
import { openGuestLink, type GuestLink } from '../../src/units/vm/link.ts';
import { QmpClient } from '../../src/units/vm/qmp/client.ts';

/** An emulated guest boots within some 15 s; a busy machine takes several times that. */
const bootTimeoutMs = 180_000;
const scratchBytes = 512 * mib;

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
  /** Added to what the guest starts from: files below /bellows come to /opt/bellows inside. */
  readonly extra?: readonly CpioEntry[];
}

export class GuestMachine {
  readonly events: EventOf<GuestProtocol>[] = [];
  readonly directory: string;
  readonly image: GuestImage;
  readonly link: GuestLink;
  readonly qmp: QmpClient;
  readonly scratch: string;
  readonly token = randomBytes(24).toString('base64url');
  readonly #qemu: ChildProcess;
  readonly #doorPort: number;

  private constructor(options: {
    directory: string;
    image: GuestImage;
    qemu: ChildProcess;
    qmp: QmpClient;
    doorPort: number;
    scratch: string;
  }) {
    this.directory = options.directory;
    this.image = options.image;
    this.qmp = options.qmp;
    this.scratch = options.scratch;
    this.#qemu = options.qemu;
    this.#doorPort = options.doorPort;
    this.link = openGuestLink({
      socketPath: join(options.directory, 'agent'),
      onConnect: async () => {},
      onDisconnect: () => {},
      onEvent: (event) => this.events.push(event),
      // The agent is killed in some tests, in the middle of whatever it says.
      onDefect: () => {},
    });
  }

  static async boot(options: GuestMachineOptions): Promise<GuestMachine> {
    const image = await buildGuestImage();
    const directory = mkdtempSync(join(tmpdir(), 'bellows-guest-'));
    let qemu: ChildProcess | undefined;
    try {
      const scratch = join(directory, 'scratch');
      writeFileSync(scratch, '');
      truncateSync(scratch, scratchBytes);
      await run('mkfs.ext4', '-q', '-F', '-m', '0', '-O', '^has_journal', '-E', 'nodiscard', scratch);
      const initrd = join(directory, 'initrd');
      writeFileSync(
        initrd,
        Buffer.concat([readFileSync(image.initrd), ...(options.extra ? [cpioArchive(options.extra)] : [])]),
      );
      const port = await freePort();
      qemu = spawn('nice', [
        ...['-n', '10', 'qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none'],
        ...['-machine', 'pc,vmport=off,usb=off,graphics=off', '-cpu', 'max', '-smp', '2'],
        ...['-accel', 'tcg,thread=multi,tb-size=64', '-m', `${options.ramBytes / mib}M`],
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
        ...['-netdev', `user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:${port}-:${doorPort}`],
        ...['-device', 'virtio-net-pci,netdev=net,romfile='],
      ]);
      const ended = once(qemu, 'exit').then(() => Promise.reject(new Error('QEMU ended')));
      ended.catch(() => undefined);
      const qmp = await Promise.race([reachable(join(directory, 'qmp')), ended]);
      return new GuestMachine({ directory, image, qemu, qmp, doorPort: port, scratch });
    } catch (thrown) {
      qemu?.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
      throw thrown;
    }
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
    const socket = connect({ host: '127.0.0.1', port: this.#doorPort, allowHalfOpen: true });
    socket.write(`${JSON.stringify({ token, to })}\n`);
    const { error } = doorAnswer.parse(JSON.parse(await nextLine(socket)));
    if (error === undefined) return socket;
    socket.destroy();
    throw new Error(error);
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

/** The next line that arrives; what is behind it stays in the socket. */
export async function nextLine(socket: Socket): Promise<string> {
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

export async function run(program: string, ...args: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}
