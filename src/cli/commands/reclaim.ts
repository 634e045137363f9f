import { z } from 'zod';
import { reclaimReport } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { given, quantity } from '../fields.ts';
import { shownBytes } from '../quantities.ts';

export const reclaim = command({
  name: 'reclaim',
  summary: 'take idle memory back now, and say from whom',
  options: [
    { flags: '--memory <quantity>', description: 'how much (default: what can be found)' },
    {
      flags: '--from <owner>',
      description: 'a tenant, TENANT/NAME, or an instance (default: whoever is idle)',
    },
  ],
  args: z.object({ memory: quantity('memory').optional(), from: z.string().min(1).max(120).optional() }),
  handler: async ({ memory, from }, { client, out, options }) => {
    const report = await client.call(
      { method: 'POST', path: '/v1/reclaim', json: given({ memory, from }) },
      reclaimReport,
    );
    if (options.json) {
      out.json(report);
      return exitCode.ok;
    }
    out.line(
      `Freed ${shownBytes(report.freed)}; found ${shownBytes(report.found)}, claimed ${shownBytes(report.claimed)}.`,
    );
    out.table(
      ['INSTANCE', 'WORKLOAD', 'HOW', 'BEFORE', 'AFTER', 'CLAIMED'],
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
