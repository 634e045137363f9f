import { z } from 'zod';
import { event as eventAnswer } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { printable } from '../output.ts';
import { serverSentEvents } from '../server-sent-events.ts';

export const events = command({
  name: 'events',
  summary: 'print what was moved, started and ended, and why',
  options: [
    { flags: '-f, --follow', description: 'go on as more happens' },
    { flags: '--after <sequence>', description: 'begin after this event' },
  ],
  args: z.object({
    follow: z.boolean().optional(),
    after: z
      .string()
      .regex(/^\d{1,15}$/, 'expected the number of an event')
      .optional(),
  }),
  handler: async ({ follow, after }, { client, out, options, signal }) => {
    const query = new URLSearchParams({
      follow: String(follow === true),
      ...(after === undefined ? {} : { after }),
    });
    try {
      const body = await client.stream({ method: 'GET', path: `/v1/events?${query}` });
      for await (const data of serverSentEvents(body)) {
        if (options.json) {
          out.line(data);
          continue;
        }
        const { time, type, tenant, workload, message } = eventAnswer.parse(JSON.parse(data));
        const whose = [tenant, workload].filter((part) => part !== null).join('/');
        out.line(`${time}  ${type}${whose === '' ? '' : `  ${whose}`}  ${printable(message)}`);
      }
    } catch (thrown) {
      if (follow === true && signal.aborted) return exitCode.ok;
      throw thrown;
    }
    return exitCode.ok;
  },
});
