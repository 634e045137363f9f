// What tests of virtual machine units look at from outside: whether there can be any here, what Bellows says of one, and
// what the host has of it. Owns nothing of what tests assert.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Bellows, InstanceAnswer } from './bellows.ts';
import { groupDirectory, isProcess, loopDevices } from './kernel.ts';

const onPath = (program: string): boolean =>
  (process.env['PATH'] ?? '').split(':').some((directory) => existsSync(`${directory}/${program}`));

const absent =
  process.getuid?.() !== 0
    ? 'root'
    : ['qemu-system-x86_64', 'mkfs.erofs', 'bwrap'].find((program) => !onPath(program));
/** Why there can be no virtual machines here, for suiteNeeding; undefined where there can. */
export const missingForMachines = absent === undefined ? undefined : `no ${absent}`;

export interface UnitAnswer {
  readonly id: string;
  readonly state: string;
  readonly tenant: string | null;
  readonly pid: number;
  readonly instances: number;
  readonly provisioned: { readonly memory: string };
  readonly claimed: { readonly memory: string; readonly storage: string };
  readonly granted: { readonly memory: string };
}

export async function unitsOf(bellows: Bellows): Promise<UnitAnswer[]> {
  return (await bellows.v1<UnitAnswer[]>('GET', '/units')).body;
}

export async function instanceOf(bellows: Bellows, name: string): Promise<InstanceAnswer> {
  const found = (await bellows.instances()).find(({ workload }) => workload.endsWith(name));
  if (found === undefined) throw new Error(`nothing runs of ${name}`);
  return found;
}

export async function unitOf(bellows: Bellows, name: string): Promise<UnitAnswer> {
  const { unit } = await instanceOf(bellows, name);
  const found = (await unitsOf(bellows)).find(({ id }) => id === unit);
  if (found === undefined) throw new Error(`there is no unit ${unit}`);
  return found;
}

/** Memory of a process that no other shares, by the kernel. */
export function privateBytesOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return [...text.matchAll(/^Private_\w+:\s+(\d+) kB$/gm)].reduce(
    (sum, [, kib]) => sum + Number(kib) * 1024,
    0,
  );
}

/** What the host has of a machine while it runs; asked again later, what is left of that. */
export function tracesOf(bellows: Bellows, { id, pid }: UnitAnswer): () => string[] {
  const groups = (['memory', 'cpu', 'freezer'] as const).map((controller) => groupDirectory(pid, controller));
  const tap = tapOf(pid);
  const files = [
    ...groups,
    ...(tap === undefined ? [] : [`/sys/class/net/${tap}`]),
    `${bellows.dataDirectory}/units/${id}.json`,
    `${bellows.dataDirectory}/run/u/${id}`,
  ];
  return () => [
    ...(isProcess(pid) ? [`process ${pid}`] : []),
    ...files.filter((file) => existsSync(file)),
    ...loopDevices()
      .filter(({ file }) => file.includes(id))
      .map(({ name, file }) => `${name} ${file}`),
  ];
}

/** The tap that the process holds, by the kernel's word. */
function tapOf(pid: number): string | undefined {
  const files = readdirSync(`/proc/${pid}/fdinfo`).map((fd) =>
    readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'),
  );
  return files.flatMap((text) => /^iff:\s*(\S+)$/m.exec(text)?.[1] ?? [])[0];
}
