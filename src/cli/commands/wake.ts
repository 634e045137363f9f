import { woken } from '../answers.ts';
import { unitCommand } from '../unit-command.ts';

export const wake = unitCommand({
  name: 'wake',
  summary: 'have a hibernated virtual machine run again, before somebody needs it',
  answer: woken,
  told: ({ unit, durationMs }) => `${unit} runs after ${Math.round(durationMs)} ms.`,
});
