// What a person sees in the terminal of the processes' JSON logs: warnings, errors, what takes long, and who is ready. Pure.
import { z } from 'zod';

/** pino's numbers of levels. */
const warnLevel = 40;
const errorLevel = 50;

const logLine = z.object({
  level: z.number(),
  process: z.string().optional(),
  msg: z.string().optional(),
  /** Something that takes long: how far it is. */
  progress: z.number().min(0).max(1).optional(),
  err: z.object({ message: z.string().optional(), hint: z.string().optional() }).optional(),
});

/** Undefined for what only `--verbose` shows (and then as it is). */
export function humanLine(line: string): string | undefined {
  if (line.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // Not ours: what Node prints when a process ends with an exception.
    return line;
  }
  const parsed = logLine.safeParse(value);
  if (!parsed.success) return line;
  const { level, process: name = 'bellows', msg = '', err, progress } = parsed.data;
  if (level < warnLevel) {
    if (progress !== undefined) return `${name}: ${msg} (${Math.round(progress * 100)} %)`;
    return msg === 'ready' ? `${name} is ready` : undefined;
  }
  const word = level >= errorLevel ? 'error' : 'warning';
  const cause = err?.message === undefined || msg.includes(err.message) ? '' : `: ${err.message}`;
  const hint = err?.hint === undefined ? '' : `\n${err.hint}`;
  return `${word}: ${name}: ${msg}${cause}${hint}`;
}
