// What the kernel knows of whether a process does anything, over all its threads. Owns reading that; what it means is the
// reader's matter.
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessActivity {
  /** Processor time used since it began, in the kernel's clock ticks. */
  readonly cpuTicks: number;
  /** Whether a thread runs, waits for a processor, or for a disk; or is being looked at by a debugger. */
  readonly wants: boolean;
}

/** R runs or is to run, D waits for a disk, t is being traced: none of them shows that nothing will come any more. */
const wanting = new Set(['R', 'D', 't']);

/** Undefined when there is no such process. */
export function processActivity(pid: number): ProcessActivity | undefined {
  try {
    const own = statFields(`/proc/${pid}/stat`);
    const threads = readdirSync(`/proc/${pid}/task`).map((thread) =>
      statFields(`/proc/${pid}/task/${thread}/stat`),
    );
    return {
      cpuTicks: Number(own[11]) + Number(own[12]),
      wants: threads.some(([state]) => wanting.has(state ?? '')),
    };
  } catch (thrown) {
    const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
    // A thread that ended between the list and the look: the process does something, and the next look will say what.
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw thrown;
  }
}

/** From the state on: the name before it may have spaces and parentheses itself. */
function statFields(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}
