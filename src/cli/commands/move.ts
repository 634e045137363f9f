import { z } from 'zod';
import { moved } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { shownBytes } from '../quantities.ts';

export const move = command({
  name: 'move',
  summary: 'have a virtual machine go on in a second process; connections into it stay',
  arguments: [{ name: '<unit>', description: 'its id, of `bellows units`' }],
  examples: ['bellows move u-djq6r0ws48yb'],
  args: z.object({ unit: z.string().min(1) }),
  handler: async ({ unit }, { client, out, options }) => {
    const report = await client.call(
      { method: 'POST', path: `/v1/units/${encodeURIComponent(unit)}/move` },
      moved,
    );
    if (options.json) out.json(report);
    else
      out.line(
        `${report.unit} goes on in process ${report.pid} after ${Math.round(report.durationMs)} ms: ` +
          `${shownBytes(report.copied)} were copied, and nothing in it ran for ${Math.round(report.pauseMs)} ms.`,
      );
    return exitCode.ok;
  },
});
