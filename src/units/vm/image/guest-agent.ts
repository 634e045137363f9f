// The guest's agent and the runtime that it puts beside user code, as files of the initramfs. Owns where they come from:
// ready-made in the npm package, made on the spot in a checkout.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stageRuntime } from '../../../agent/stage-runtime.ts';
import type { CpioEntry } from './cpio.ts';
import { output } from './tools.ts';

const installed = import.meta.url.endsWith('.js');
const bundled = fileURLToPath(new URL('../../../guest-agent', import.meta.url));
const bundler = fileURLToPath(new URL('../../../../scripts/bundle-guest.mjs', import.meta.url));

/** `agent/main.js` and what it imports, and `runtime/`; below `prefix`. */
export async function guestAgentFiles(prefix: string): Promise<CpioEntry[]> {
  const temporary = mkdtempSync(join(tmpdir(), 'bellows-guest-agent-'));
  try {
    const agent = installed ? bundled : join(temporary, 'agent');
    if (!installed) await output(process.execPath, [bundler, agent]);
    const runtime = stageRuntime(join(temporary, 'runtime'));
    return [
      {
        path: `${prefix}/agent/package.json`,
        type: 'file',
        mode: 0o644,
        content: Buffer.from('{"type":"module"}\n'),
      },
      ...filesBelow(agent, `${prefix}/agent`),
      ...filesBelow(runtime, `${prefix}/runtime`),
    ];
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** All files below a directory, as entries below `prefix`, sorted. */
export function filesBelow(directory: string, prefix: string): CpioEntry[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => {
      const name = path.slice(directory.length + 1);
      return {
        path: prefix === '' ? name : `${prefix}/${name}`,
        type: 'file',
        mode: 0o644,
        content: readFileSync(path),
      };
    });
}
