import { moved } from '../answers.ts';
import { shownBytes } from '../quantities.ts';
import { unitCommand } from '../unit-command.ts';

export const move = unitCommand({
  name: 'move',
  summary: 'have a virtual machine go on in a second process; connections into it stay',
  answer: moved,
  told: ({ unit, pid, durationMs, copied, pauseMs }) =>
    `${unit} goes on in process ${pid} after ${Math.round(durationMs)} ms: ` +
    `${shownBytes(copied)} were copied, and nothing in it ran for ${Math.round(pauseMs)} ms.`,
});
