import { hibernation } from '../answers.ts';
import { shownBytes } from '../quantities.ts';
import { unitCommand } from '../unit-command.ts';

export const hibernate = unitCommand({
  name: 'hibernate',
  summary: 'put a virtual machine on disk with all that runs in it; connections into it stay',
  answer: hibernation,
  told: ({ unit, durationMs, before, after, stored }) =>
    `${unit} is hibernated after ${Math.round(durationMs)} ms: ${shownBytes(before)} → ` +
    `${shownBytes(after)} of memory, ${shownBytes(stored)} on disk.`,
});
