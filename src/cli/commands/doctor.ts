import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';
import { checkPathLength, checkRoom } from '../../supervisor/data-directory.ts';
import { checkPort } from '../../supervisor/port.ts';
import { mayRaisePriority } from '../../sys/priority.ts';
import { onPath } from '../../supervisor/system-packages.ts';
import { probeAccelerator } from '../../units/vm/probe.ts';
import { units } from '../answers.ts';
import { command } from '../command.ts';
import type { Context } from '../context.ts';
import { diagnose, type Facts, type Finding } from '../diagnosis.ts';
import { exitCode } from '../exit-code.ts';
import { CommandError } from '../failure.ts';
import { defaultPort } from '../installation.ts';

interface Problem {
  readonly why: string;
  readonly solve: string;
}

export const doctor = command({
  name: 'doctor',
  summary: 'look for what is missing on this machine, and say what is not enforced',
  args: z.object({}),
  handler: async (_, ctx) => {
    const findings = diagnose(await gather(ctx));
    const problems = findings.filter(({ level }) => level === 'problem').length;
    if (ctx.options.json) ctx.out.json({ ok: problems === 0, findings });
    else for (const finding of findings) show(finding, ctx);
    return problems === 0 ? exitCode.ok : exitCode.failed;
  },
});

function show({ level, what, why, solve }: Finding, { out }: Context): void {
  const colour = level === 'ok' ? 'green' : level === 'note' ? 'dim' : 'red';
  out.line(`${out.style(colour, level.padEnd(7))}  ${what}`);
  if (why !== undefined) out.line(`         ${why}`);
  if (solve !== undefined) out.line(`         ${solve}`);
}

async function gather(ctx: Context): Promise<Facts> {
  return {
    platform: process.platform,
    nodeVersion: process.version,
    root: process.getuid?.() === 0,
    bubblewrap: onPath('bwrap', ctx.env['PATH']),
    cgroup: cgroupHere(),
    openFiles: openFilesLimit(),
    mayRaisePriority: mayRaisePriority(),
    accelerator: await accelerator(),
    dataDirectoryProblem: await problemOf(() => {
      checkPathLength(ctx.installation.dataDirectory);
      checkRoom(ctx.installation.dataDirectory);
    }),
    running: await lookAtRunning(ctx),
  };
}

async function lookAtRunning({ client }: Context): Promise<Facts['running']> {
  try {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, units);
    const known = list.flatMap(({ capabilities }) => capabilities ?? []);
    return {
      is: 'yes',
      url: client.url,
      cgroup: known[0]?.cgroup ?? 'unknown',
      sandbox: known[0]?.sandbox ?? 'unknown',
      notEnforced: known.flatMap(({ notEnforced }) => notEnforced),
    };
  } catch (thrown) {
    if (!(thrown instanceof CommandError)) throw thrown;
    const portProblem = await problemOf(() =>
      checkPort('127.0.0.1', Number(new URL(client.url).port || defaultPort)),
    );
    // Nothing runs, unless somebody has the port: then it is Bellows, or a stranger, that does not let us in.
    if (thrown.exitCode === exitCode.unreachable) return { is: 'no', portProblem };
    return { is: 'unknown', why: thrown.message, solve: thrown.hint ?? 'See its log.' };
  }
}

async function problemOf(check: () => void | Promise<void>): Promise<Problem | undefined> {
  try {
    await check();
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof BellowsError)) throw thrown;
    return { why: thrown.message, solve: thrown.hint ?? '' };
  }
}

/** Null without QEMU. */
async function accelerator(): Promise<Facts['accelerator']> {
  try {
    return await probeAccelerator();
  } catch (thrown) {
    if (thrown instanceof BellowsError && thrown.code === 'NotSupportedHere') return null;
    throw thrown;
  }
}

function cgroupHere(): Facts['cgroup'] {
  const controllers = '/sys/fs/cgroup/cgroup.controllers';
  if (existsSync(controllers) && readFileSync(controllers, 'utf8').split(/\s/).includes('memory'))
    return 'v2';
  return existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes') ? 'v1' : 'none';
}

/** The hard limit: Node raises its own to that when it starts. */
function openFilesLimit(): number | null {
  if (!existsSync('/proc/self/limits')) return null;
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  if (hard === undefined) return null;
  return hard === 'unlimited' ? Infinity : Number(hard);
}
