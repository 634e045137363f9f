// A tenant's function in a virtual machine of the driver, with nothing of the fleet between: its code goes through the door,
// it is started inside, and asked over its frames. Plays a tenant that runs what it likes (see evalHandler).
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newInstanceId, type InstanceId, type TenantId } from '../../src/base/ids.ts';
import type { Bytes } from '../../src/base/quantity.ts';
import { doorAnswer, type DoorRequest } from '../../src/protocol/door.ts';
import { FrameClient } from '../../src/runtime/testing/instance-client.ts';
import { sendCode } from '../../src/units/fleet/code-transfer.ts';
import type { VmUnit } from '../../src/units/vm/port.ts';
import { evalHandler, functionSpec, uidOf } from './agent-process.ts';

/** Emulated, and on a busy machine: what takes a processor milliseconds. */
const longMs = 120_000;

export interface TenantOptions {
  readonly tenant: TenantId;
  /** Of the tenant's user: another for each. */
  readonly index: number;
  readonly memoryBytes: number;
  readonly storageBytes: number;
}

export class VmTenant {
  readonly #unit: VmUnit;
  readonly #instance: InstanceId;
  readonly #client: FrameClient;

  private constructor(unit: VmUnit, instance: InstanceId, client: FrameClient) {
    this.#unit = unit;
    this.#instance = instance;
    this.#client = client;
  }

  static async start(unit: VmUnit, options: TenantOptions): Promise<VmTenant> {
    const { tenant, memoryBytes, storageBytes } = options;
    const uid = uidOf(options.index);
    const id = newInstanceId();
    const codeDirectory = await sendHandler(unit, tenant);
    await unit.guest.call('ensureTenant', { tenant, uid, memoryBytes: null, cpuMillicores: null, weight: 1 });
    const spec = functionSpec(codeDirectory, {
      id,
      tenant,
      uid,
      timeoutMs: longMs,
      grant: { memory: memoryBytes as Bytes, storage: storageBytes as Bytes },
    });
    const result = await unit.guest.call('start', spec, { timeoutMs: longMs });
    if (result.outcome === 'failed') throw new Error(JSON.stringify(result.error));
    const client = new FrameClient(await through(unit, { kind: 'socket', instance: id, socket: 'frames' }));
    client.socket.resume();
    return new VmTenant(unit, id, client);
  }

  /** Runs JavaScript in its process and answers the value. */
  async evaluate(js: string): Promise<unknown> {
    const answer = await this.#client.invoke({ js }, { timeoutMs: longMs });
    const { value, error } = answer.json() as { value?: unknown; error?: string };
    if (error !== undefined) throw new Error(error);
    return value;
  }

  /** It goes on without anybody who asks it. */
  disconnect(): void {
    this.#client.socket.destroy();
  }

  async stop(): Promise<void> {
    this.disconnect();
    await this.#unit.guest.call('stop', { id: this.#instance, graceMs: 0, reason: 'it is over' });
  }
}

/** Answers the place outside that the code stands for. */
async function sendHandler(unit: VmUnit, tenant: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'bellows-code-'));
  try {
    for (const [name, text] of Object.entries(evalHandler)) writeFileSync(join(directory, name), text);
    const sha256 = createHash('sha256').update(JSON.stringify(evalHandler)).digest('hex');
    await sendCode(unit.door, { tenant, sha256, directory });
    return `/outside/code/${tenant}/${sha256}`;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function through({ door }: VmUnit, to: DoorRequest['to']): Promise<Socket> {
  const socket = connect({ host: door.host, port: door.port, noDelay: true });
  socket.write(`${JSON.stringify({ token: door.token, to })}\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  const end = chunk.indexOf('\n') + 1;
  const { error } = doorAnswer.parse(JSON.parse(chunk.subarray(0, end).toString()));
  if (error !== undefined) throw new Error(error);
  socket.pause();
  if (end < chunk.length) socket.unshift(chunk.subarray(end));
  return socket;
}
