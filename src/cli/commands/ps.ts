import { z } from 'zod';
import { instances, workload, type Instances } from '../answers.ts';
import { command } from '../command.ts';
import type { Context } from '../context.ts';
import { exitCode } from '../exit-code.ts';
import { tenantArgument, tenantOption } from '../fields.ts';
import { shownBytes } from '../quantities.ts';

export const instanceHead = [
  'INSTANCE',
  'TENANT',
  'WORKLOAD',
  'STATE',
  'PID',
  'CONNECTIONS',
  'MEMORY USED',
  'OF',
  'CPU USED',
  'OF',
  'UNIT',
];

export function instanceRows(list: Instances): string[][] {
  return list.map(({ id, tenant, workload, state, pid, connections, memory, cpu, unit }) => [
    id,
    tenant,
    workload,
    state,
    String(pid),
    String(connections),
    shownBytes(memory.used),
    memory.grant,
    cpu.used,
    cpu.grant,
    unit,
  ]);
}

export async function listInstances({ client }: Context, tenant: string | undefined): Promise<Instances> {
  const all = await client.call({ method: 'GET', path: '/v1/instances' }, instances);
  const mine = tenant === undefined ? all : all.filter((instance) => instance.tenant === tenant);
  return mine.sort(
    (a, b) => compare(a.tenant, b.tenant) || compare(a.workload, b.workload) || compare(a.id, b.id),
  );
}

type Workload = z.infer<typeof workload>;

/** Apps whose instances failed, and what they wait for: of those there may be nothing among the instances. */
function crashedRows(list: readonly Workload[]): string[][] {
  return list.map(({ tenant, name }) => ['-', tenant, name, 'crashed', '-', '0', '-', '-', '-', '-', '-']);
}

function crashedText({ tenant, name, restart }: Workload, nowMs: number): string {
  if (restart === null || restart === undefined) return '';
  const { failures, reason, nextStartAt } = restart;
  const row = failures === 1 ? '' : ` ${failures} times in a row`;
  const inSeconds = Math.ceil((Date.parse(nextStartAt) - nowMs) / 1_000);
  const next = inSeconds > 0 ? `It is started again in ${inSeconds} s.` : 'It is being started again.';
  return `${tenant}/${name} failed${row} (${reason}). ${next}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export const ps = command({
  name: 'ps',
  summary: 'list what runs, what each may use and uses, and its open connections',
  options: [{ ...tenantOption, description: 'only of this tenant' }],
  args: z.object({ tenant: tenantArgument.optional() }),
  handler: async ({ tenant }, ctx) => {
    const list = await listInstances(ctx, tenant);
    if (ctx.options.json) {
      ctx.out.json(list);
      return exitCode.ok;
    }
    const all = await ctx.client.call({ method: 'GET', path: '/v1/workloads' }, z.array(workload));
    const crashed = all.filter(
      (one) => (one.restart ?? null) !== null && (tenant === undefined || one.tenant === tenant),
    );
    ctx.out.table(
      instanceHead,
      [...instanceRows(list), ...crashedRows(crashed)],
      'Nothing runs. Functions start when they are called: bellows invoke NAME',
    );
    for (const one of crashed) ctx.out.line(crashedText(one, Date.now()));
    return exitCode.ok;
  },
});
