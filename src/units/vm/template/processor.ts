// What a template's guest has seen of the processor that it was booted on. With KVM it is given the host's own: a template
// that outlives a change of that, on the disk of a machine that moves, must not be cloned on another. QEMU's documentation
// calls "host" unsafe to migrate for that reason. A translated guest has QEMU's own processor, that goes with its version.
// Pure.
import { createHash } from 'node:crypto';
import type { Accelerator } from '../accelerator.ts';

/** What of /proc/cpuinfo says which instructions there are, and how they behave. Not its speed of this moment. */
const fields = ['vendor_id', 'cpu family', 'model', 'model name', 'stepping', 'microcode', 'flags'];

/**
 * @param cpuinfo the text of /proc/cpuinfo
 * @param kernel the host's release: KVM passes on what it knows of
 */
export function processorOf(kind: Accelerator['kind'], cpuinfo: string, kernel: string): string {
  if (kind === 'tcg') return kind;
  const values = fields.map((name) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(cpuinfo)?.[1] ?? '');
  const hash = createHash('sha256').update(JSON.stringify([kernel, ...values]));
  return `${kind}-${hash.digest('hex').slice(0, 16)}`;
}
