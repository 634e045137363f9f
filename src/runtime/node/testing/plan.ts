// How tests start the Node runtime: from its sources, without a sandbox.
import { fileURLToPath } from 'node:url';
import { nodeRuntime } from '../../node-runtime.ts';
import type { LaunchPlan } from '../../port.ts';

const runtimeDirectory = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

export function plan(runDirectory: string): LaunchPlan {
  const places = { node: process.execPath, runtimeDirectory, runDirectory, ceilingBytes: 1024 ** 3 };
  const pooled = nodeRuntime.pooled(places);
  if (pooled === null) throw new Error('the Node runtime can be pooled');
  return { ...pooled, args: pooled.args.map((argument) => argument.replace(/main\.js$/, 'main.ts')) };
}
