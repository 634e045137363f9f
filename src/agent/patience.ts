// How much longer than on a real processor things may take here. Inside a virtual machine that QEMU emulates, everything does:
// that is no reason to give up on a start.
import { readFileSync } from 'node:fs';

/** Emulated code was measured at ten to twenty times its time; a start waits for the disk and for others, too. */
const emulatedPatience = 8;

/** What QEMU calls the processor that it emulates (`-cpu max`). */
const emulatedProcessor = /^model name\s*:\s*QEMU TCG CPU/m;

export function patienceFor(cpuinfo: string): number {
  return emulatedProcessor.test(cpuinfo) ? emulatedPatience : 1;
}

function readCpuinfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'latin1');
  } catch {
    return '';
  }
}

export const patience = patienceFor(readCpuinfo());
