// What this unit can enforce, and how much of each resource it has.
import { statfsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import type { Bytes, Millicores } from '../base/quantity.ts';
import { defaultBandwidth } from '../model/workload.ts';
import type { Resources } from '../model/resources.ts';
import type { AgentCapabilities } from '../protocol/agent.ts';
import type { Detected } from './cgroup/detect.ts';
import type { DetectedSandbox } from './sandbox/detect.ts';
import type { Sandbox } from './sandbox/port.ts';

export function capabilitiesOf(cgroups: Detected, sandboxes: DetectedSandbox): AgentCapabilities {
  const { capabilities } = cgroups.cgroup;
  return {
    cgroup: capabilities.version,
    sandbox: sandboxes.sandbox.name,
    memoryLimit: capabilities.memoryLimit,
    cpuLimit: capabilities.cpuLimit,
    freeze: capabilities.freeze,
    separateUsers: sandboxes.sandbox.separateUsers,
    warmPool: true,
    notEnforced: [...cgroups.notEnforced, ...sandboxes.notEnforced, ...storageNotes(sandboxes.sandbox)],
  };
}

function storageNotes({ storage }: Sandbox): AgentCapabilities['notEnforced'] {
  switch (storage.on) {
    case 'disk':
      return [];
    case 'memory':
      return [
        {
          what: 'scratch space on disk: /tmp of an instance is limited in size, but counts as its memory',
          why: `File systems can not be made here: ${storage.why.trim()}`,
          solve:
            'Run Bellows where there are loop devices (/dev/loop-control) and mkfs.ext4 (the package e2fsprogs).',
        },
      ];
    case 'anything':
      return [
        {
          what: 'the size of what instances store in /tmp',
          why: 'Without a sandbox it is a directory as any other.',
          solve: 'Run Bellows as root with bubblewrap installed.',
        },
      ];
  }
}

export function capacityOf(dataDirectory: string): Resources {
  // Not in a thread, which takes an emulated machine that just began longer than the call.
  const { bsize, blocks } = statfsSync(dataDirectory);
  // Itself in a container, Bellows has what the container has.
  const constrained = process.constrainedMemory();
  const memory = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return {
    memory: memory as Bytes,
    cpu: (availableParallelism() * 1000) as Millicores,
    storage: (bsize * blocks) as Bytes,
    // The speed of a link is not known for certain (virtual devices report none): the commonest.
    bandwidth: defaultBandwidth,
  };
}
