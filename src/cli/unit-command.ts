// A command that has one thing done with one virtual machine: its id in, one line or the API's answer out.
// Does not own what is said of it: each command does.
import { z } from 'zod';
import { command, type Command } from './command.ts';
import type { Context } from './context.ts';
import { exitCode, type ExitCode } from './exit-code.ts';

interface UnitCommandParts<Report> {
  /** Of the command, and of what is asked of the API: `/v1/units/ID/NAME`. */
  readonly name: string;
  readonly summary: string;
  readonly answer: z.ZodType<Report>;
  readonly told: (report: Report) => string;
}

export function unitCommand<Report>({ name, summary, answer, told }: UnitCommandParts<Report>): Command {
  return command({
    name,
    summary,
    arguments: [{ name: '<unit>', description: 'its id, of `bellows units`' }],
    examples: [`bellows ${name} u-djq6r0ws48yb`],
    args: z.object({ unit: z.string().min(1) }),
    handler: ({ unit }, ctx) => done(`/v1/units/${encodeURIComponent(unit)}/${name}`, { answer, told }, ctx),
  });
}

/** Has something done, and tells what came of it. */
export async function done<Report>(
  path: string,
  { answer, told, json }: Pick<UnitCommandParts<Report>, 'answer' | 'told'> & { readonly json?: unknown },
  { client, out, options }: Context,
): Promise<ExitCode> {
  const report = await client.call({ method: 'POST', path, ...(json === undefined ? {} : { json }) }, answer);
  if (options.json) out.json(report);
  else out.line(told(report));
  return exitCode.ok;
}
