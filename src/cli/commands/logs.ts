import { z } from 'zod';
import { logs as logsAnswer } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { tenantOption, toWorkload, wholeNumber, workloadArgument, workloadFields } from '../fields.ts';
import { printable } from '../output.ts';

/** One long poll; shorter than the minute after which something in between may give up. */
const waitSeconds = 25;

export const logs = command({
  name: 'logs',
  summary: 'print what a workload logged',
  arguments: [workloadArgument],
  options: [
    { flags: '-f, --follow', description: 'go on as it logs more' },
    { flags: '-n, --lines <number>', description: 'how many of the last lines (default: 1000)' },
    { flags: '--instances', description: 'begin each line with its time and instance' },
    tenantOption,
  ],
  examples: ['bellows logs -f chat'],
  args: z.object({
    ...workloadFields,
    follow: z.boolean().optional(),
    lines: wholeNumber(1, 10_000).default(1_000),
    instances: z.boolean().optional(),
  }),
  handler: async ({ follow, lines, instances, ...ref }, { client, out, options, signal }) => {
    const { tenant, name } = toWorkload(ref);
    const path = `/v1/workloads/${tenant}/${name}/logs`;
    let query = new URLSearchParams({ limit: String(lines) });
    try {
      for (;;) {
        const { entries, cursor } = await client.call(
          { method: 'GET', path: `${path}?${query}` },
          logsAnswer,
        );
        for (const entry of entries) {
          if (options.json) out.line(JSON.stringify(entry));
          else
            out.line(
              instances === true
                ? `${entry.time} ${entry.instance} ${printable(entry.line)}`
                : printable(entry.line),
            );
        }
        if (follow !== true) return exitCode.ok;
        query = new URLSearchParams({ cursor, wait: String(waitSeconds) });
      }
    } catch (thrown) {
      // Following ends by Ctrl-C: that is how it is meant.
      if (follow === true && signal.aborted) return exitCode.ok;
      throw thrown;
    }
  },
});
