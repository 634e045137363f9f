// Instances of the suite as the benches need them: deployed, called, looked at by the kernel's own figures, trimmed on request.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bellows, eventually } from '../../tests/support/bellows.ts';
import { groupDirectory } from '../../tests/support/kernel.ts';
import type { Kind } from './suite.ts';

export interface Deployed {
  readonly kind: Kind;
  readonly tenant: string;
  readonly name: string;
  readonly instance: string;
  /** Of its processes, in the kernel. */
  readonly group: string;
}

/** Makes the tenant's functions, and one instance of each. */
export async function deploy(
  bellows: Bellows,
  tenant: string,
  functions: readonly { readonly kind: Kind; readonly name: string }[],
  archives: ReadonlyMap<Kind, Buffer>,
): Promise<readonly Deployed[]> {
  await expectOk(bellows.v1('PUT', `/tenants/${tenant}`, {}));
  for (const { kind, name } of functions) {
    await expectOk(bellows.v1('PUT', `/workloads/${tenant}/${name}`, archives.get(kind)));
    await call(bellows, { tenant, name });
  }
  const running = await bellows.instances();
  return functions.map(({ kind, name }) => {
    const own = running.find(
      (instance) => instance.tenant === tenant && [name, `${tenant}/${name}`].includes(instance.workload),
    );
    if (own === undefined) throw new Error(`${tenant}/${name} answered and has no instance`);
    return { kind, tenant, name, instance: own.id, group: groupDirectory(own.pid, 'memory') };
  });
}

export interface Called {
  readonly ms: number;
  readonly text: string;
}

/** Without a seed the function has nothing to do. */
export async function call(
  bellows: Bellows,
  { tenant, name }: Pick<Deployed, 'tenant' | 'name'>,
  seed?: number,
): Promise<Called> {
  const began = performance.now();
  const answer = await fetch(
    `${bellows.url}/w/${tenant}/${name}/${seed === undefined ? '' : `?seed=${seed}`}`,
  );
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${tenant}/${name} answered ${answer.status}: ${text}`);
  return { ms: performance.now() - began, text };
}

/** Takes back what the instance does not need, in use or not. */
export async function reclaim(bellows: Bellows, { instance }: Deployed): Promise<void> {
  await expectOk(bellows.v1('POST', '/reclaim', { from: instance }));
}

export async function frozen(bellows: Bellows, deployed: readonly Deployed[]): Promise<void> {
  const ids = new Set(deployed.map(({ instance }) => instance));
  const still = async (): Promise<number> =>
    (await bellows.instances()).filter(({ id, state }) => ids.has(id) && state === 'frozen').length;
  await eventually(async () => (await still()) === ids.size, {
    timeoutMs: 30_000,
    everyMs: 250,
    what: () => `${ids.size} idle instances to be frozen`,
  });
}

/** What only the instance's own processes have, by the kernel's maps of them: bytes. Null when it has been ended. */
export function privateBytes({ group }: Pick<Deployed, 'group'>): number | null {
  try {
    let kib = 0;
    for (const pid of readFileSync(join(group, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      for (const [, amount] of rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB/gm))
        kib += Number(amount);
    }
    return kib * 1024;
  } catch {
    return null;
  }
}

async function expectOk(asked: Promise<{ readonly status: number; readonly body: unknown }>): Promise<void> {
  const { status, body } = await asked;
  if (status >= 300) throw new Error(`answered ${status}: ${JSON.stringify(body)}`);
}
