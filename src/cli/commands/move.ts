import { z } from 'zod';
import { unitKinds } from '../../model/unit-kind.ts';
import { moved, movedWorkload } from '../answers.ts';
import { command } from '../command.ts';
import { tenantOption, toWorkload } from '../fields.ts';
import { shownBytes } from '../quantities.ts';
import { done } from '../unit-command.ts';

const nameOf: Readonly<Record<string, string>> = {
  host: 'processes of this machine',
  vm: 'virtual machines',
};

export const move = command({
  name: 'move',
  summary: 'have a virtual machine go on in a second process, or a workload elsewhere; connections stay',
  arguments: [{ name: '<what>', description: 'a unit, of `bellows units`; with --to a workload' }],
  options: [{ flags: '--to <kind>', description: 'where the workload is to run: host or vm' }, tenantOption],
  examples: ['bellows move u-djq6r0ws48yb', 'bellows move chat --to vm'],
  args: z.object({
    what: z.string().min(1),
    to: z.enum(unitKinds, `expected ${unitKinds.join(' or ')}`).optional(),
    tenant: z.string().optional(),
  }),
  handler: async ({ what, to, tenant: owner }, ctx) => {
    if (to === undefined)
      return done(`/v1/units/${encodeURIComponent(what)}/move`, { answer: moved, told: unitTold }, ctx);
    const { tenant, name } = toWorkload({ name: what, tenant: owner });
    const report = { answer: movedWorkload, told: workloadTold, json: { to } };
    return done(`/v1/workloads/${tenant}/${name}/move`, report, ctx);
  },
});

function unitTold({ unit, pid, durationMs, copied, pauseMs }: z.infer<typeof moved>): string {
  return (
    `${unit} goes on in process ${pid} after ${Math.round(durationMs)} ms: ` +
    `${shownBytes(copied)} were copied, and nothing in it ran for ${Math.round(pauseMs)} ms.`
  );
}

function workloadTold({ workload, from, to, durationMs }: z.infer<typeof movedWorkload>): string {
  const where = nameOf[to] ?? to;
  return from === to
    ? `${workload} runs in ${where} already.`
    : `${workload} runs in ${where} now; it took over after ${Math.round(durationMs)} ms.`;
}
