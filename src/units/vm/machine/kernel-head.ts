// What a QEMU that begins with another machine's state is given in place of a kernel. Owns that file. Such a machine never
// boots: it goes on, and a restart ends it. But QEMU keeps what it is to boot from in memory of its own, 17 MiB for each clone
// with the initrd, and reads it before anything else.
import { closeSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of Linux's boot protocol (Documentation/arch/x86/boot.rst): the signature of a bzImage, and what is before its code. */
const signature = { offset: 0x202, text: 'HdrS' } as const;
const largestSetupBytes = 256 * 512;

/**
 * Writes the kernel's beginning into `directory` and answers the file: enough for QEMU to take it for the kernel, so that
 * the devices are those of the machine that was saved. A kernel of another format is answered as it is.
 */
export function kernelHead(kernel: string, directory: string): string {
  const head = readHead(kernel);
  const { offset, text } = signature;
  if (head.toString('latin1', offset, offset + text.length) !== text) return kernel;
  const file = join(directory, 'kernel');
  // The directory is QEMU's user's: an earlier one may have left something there that leads elsewhere.
  rmSync(file, { force: true });
  writeFileSync(file, head, { flag: 'wx', mode: 0o644 });
  return file;
}

function readHead(kernel: string): Buffer {
  const fd = openSync(kernel, 'r');
  try {
    const head = Buffer.alloc(largestSetupBytes + 512);
    return head.subarray(0, readSync(fd, head, 0, head.length, 0));
  } finally {
    closeSync(fd);
  }
}
