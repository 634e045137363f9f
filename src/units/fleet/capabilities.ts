// What the agents in virtual machines enforce, assumed until the first of them has said so itself: their kernel is ours.
import type { AgentCapabilities } from '../../protocol/agent.ts';

export const assumedCapabilities: AgentCapabilities = {
  cgroup: 'v2',
  sandbox: 'bubblewrap',
  memoryLimit: true,
  cpuLimit: true,
  freeze: true,
  separateUsers: true,
  warmPool: true,
  notEnforced: [],
};
