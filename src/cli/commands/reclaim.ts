import { z } from 'zod';
import { reclaimReport } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { changeQuery, given, quantity } from '../fields.ts';
import { shownBytes } from '../quantities.ts';

type Report = z.infer<typeof reclaimReport>;

export const reclaim = command({
  name: 'reclaim',
  summary: 'take idle memory back now, and say from whom',
  options: [
    {
      flags: '--memory <quantity>',
      description: 'how much, ending idle functions if need be (default: what can be found, ending nothing)',
    },
    {
      flags: '--from <owner>',
      description: 'a tenant, TENANT/NAME, or an instance (default: whoever is idle)',
    },
    { flags: '--plan', description: 'only say what would be taken, from whom, in which order and how' },
  ],
  examples: ['bellows reclaim --memory 256MiB --plan', 'bellows reclaim --from acme/chat'],
  args: z.object({
    memory: quantity('memory').optional(),
    from: z.string().min(1).max(120).optional(),
    plan: z.boolean().optional(),
  }),
  handler: async ({ memory, from, plan }, { client, out, options }) => {
    const report = await client.call(
      { method: 'POST', path: `/v1/reclaim${changeQuery({ plan })}`, json: given({ memory, from }) },
      reclaimReport,
    );
    if (options.json) {
      out.json(report);
      return exitCode.ok;
    }
    out.line(sentenceOf(report));
    out.table(
      ['INSTANCE', 'WORKLOAD', 'HOW', 'BEFORE', 'AFTER', report.planned ? 'BRINGS' : 'CLAIMED'],
      report.from.map(({ instance, workload, how, before, after, claimed }) => [
        instance,
        workload,
        how,
        shownBytes(before),
        shownBytes(after),
        shownBytes(claimed),
      ]),
      'Nothing was idle.',
    );
    return exitCode.ok;
  },
});

function sentenceOf({ planned, claimed, missing, freed, found, durationMs, connections }: Report): string {
  const short = isShort({ missing }) ? `; ${shownBytes(missing)} would not be found` : '';
  if (planned) return `Planned, nothing was done: ${shownBytes(claimed)} could be taken back${short}.`;
  const lacking = isShort({ missing }) ? `; ${shownBytes(missing)} were not found` : '';
  const kept = connections.open === 0 ? '' : ` ${connections.kept} of ${connections.open} connections kept.`;
  return `Freed ${shownBytes(freed)} in ${Math.round(durationMs)} ms; found ${shownBytes(found)}, claimed ${shownBytes(claimed)}${lacking}.${kept}`;
}

function isShort({ missing }: Pick<Report, 'missing'>): boolean {
  return Number.parseFloat(missing) > 0;
}
