import { z } from 'zod';
import { woken } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';

export const wake = command({
  name: 'wake',
  summary: 'have a hibernated virtual machine run again, before somebody needs it',
  arguments: [{ name: '<unit>', description: 'its id, of `bellows units`' }],
  examples: ['bellows wake u-djq6r0ws48yb'],
  args: z.object({ unit: z.string().min(1) }),
  handler: async ({ unit }, { client, out, options }) => {
    const report = await client.call(
      { method: 'POST', path: `/v1/units/${encodeURIComponent(unit)}/wake` },
      woken,
    );
    if (options.json) out.json(report);
    else out.line(`${report.unit} runs after ${Math.round(report.durationMs)} ms.`);
    return exitCode.ok;
  },
});
