import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { command } from '../command.ts';
import type { Context } from '../context.ts';
import { exitCode, type ExitCode } from '../exit-code.ts';
import { tenantArgument, tenantOption, wholeNumber } from '../fields.ts';
import { formatTable } from '../output.ts';
import { instanceHead, instanceRows, listInstances } from './ps.ts';

const home = '\u001b[H';
const clearToEnd = '\u001b[J';
const clearLine = '\u001b[K';
const alternateScreen = { enter: '\u001b[?1049h', leave: '\u001b[?1049l' } as const;
const defaultRows = 24;

export const top = command({
  name: 'top',
  summary: 'watch what runs, refreshed in place; once when it is not a terminal',
  options: [
    { flags: '--every <seconds>', description: 'how often (default: 1)' },
    { ...tenantOption, description: 'only of this tenant' },
  ],
  args: z.object({ tenant: tenantArgument.optional(), every: wholeNumber(1, 3600).default(1) }),
  handler: async ({ tenant, every }, ctx) => {
    if (ctx.options.json || !ctx.out.isTerminal) {
      const list = await listInstances(ctx, tenant);
      if (ctx.options.json) ctx.out.json(list);
      else ctx.out.table(instanceHead, instanceRows(list), 'Nothing runs.');
      return exitCode.ok;
    }
    return watch(ctx, tenant, every * 1_000);
  },
});

async function watch(ctx: Context, tenant: string | undefined, everyMs: number): Promise<ExitCode> {
  const { out, signal } = ctx;
  out.raw(alternateScreen.enter);
  try {
    while (!signal.aborted) {
      const list = await listInstances(ctx, tenant);
      const rows = formatTable([instanceHead, ...instanceRows(list)]);
      const shown = [
        `${list.length} instances, ${new Date().toLocaleTimeString()}; Ctrl-C ends`,
        '',
        ...rows,
      ];
      const fitting = shown.slice(0, (out.streams.stdout.rows ?? defaultRows) - 1);
      const width = out.streams.stdout.columns ?? Infinity;
      out.raw(`${home}${fitting.map((line) => line.slice(0, width) + clearLine).join('\n')}\n${clearToEnd}`);
      await pause(everyMs, undefined, { signal }).catch(() => undefined);
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  } finally {
    out.raw(alternateScreen.leave);
  }
  // Watching ends by Ctrl-C: that is how it is meant.
  return exitCode.ok;
}
