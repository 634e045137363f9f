import { z } from 'zod';
import { hibernation } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { shownBytes } from '../quantities.ts';

export const hibernate = command({
  name: 'hibernate',
  summary: 'put a virtual machine on disk with all that runs in it; connections into it stay',
  arguments: [{ name: '<unit>', description: 'its id, of `bellows units`' }],
  examples: ['bellows hibernate u-djq6r0ws48yb'],
  args: z.object({ unit: z.string().min(1) }),
  handler: async ({ unit }, { client, out, options }) => {
    const report = await client.call(
      { method: 'POST', path: `/v1/units/${encodeURIComponent(unit)}/hibernate` },
      hibernation,
    );
    if (options.json) out.json(report);
    else
      out.line(
        `${report.unit} is hibernated after ${Math.round(report.durationMs)} ms: ${shownBytes(report.before)} → ` +
          `${shownBytes(report.after)} of memory, ${shownBytes(report.stored)} on disk.`,
      );
    return exitCode.ok;
  },
});
