// Which sandbox this machine allows, and in words what is missing without.
import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import type { AgentCapabilities } from '../../protocol/agent.ts';
import { BubblewrapSandbox } from './bubblewrap.ts';
import { NoSandbox } from './none.ts';
import type { Sandbox } from './port.ts';

export interface DetectedSandbox {
  readonly sandbox: Sandbox;
  readonly notEnforced: AgentCapabilities['notEnforced'];
}

export function detectSandbox(directories: {
  readonly runDirectory: string;
  readonly storageDirectory: string;
  readonly runtimeDirectory: string;
}): DetectedSandbox {
  // The program itself: what leads to it may lie where the sandbox does not look.
  const nodeBinary = realpathSync(process.execPath);
  const missing = whatIsMissing();
  if (missing === null)
    return { sandbox: new BubblewrapSandbox({ ...directories, nodeBinary }), notEnforced: [] };
  return {
    sandbox: new NoSandbox({ nodeBinary, runtimeDirectory: directories.runtimeDirectory }),
    notEnforced: [
      { what: 'isolation of tenants from each other, from this machine and from Bellows', ...missing },
    ],
  };
}

function whatIsMissing(): { why: string; solve: string } | null {
  if (process.platform !== 'linux')
    return {
      why: `There are no sandboxes on ${process.platform}.`,
      solve: 'Run Bellows on Linux, or in a Linux virtual machine.',
    };
  if (process.getuid?.() !== 0)
    return {
      why: 'Bellows runs without root, so every tenant is the same user.',
      solve: 'Run Bellows as root.',
    };
  for (const [program, from] of [
    ['bwrap', 'bubblewrap'],
    ['setpriv', 'util-linux'],
  ] as const) {
    if (spawnSync(program, ['--version']).status !== 0)
      return { why: `The program ${program} is missing.`, solve: `Install the package ${from}.` };
  }
  return null;
}
