// The initramfs: what a guest starts from until its root is mounted, and the agent, which moves into the root from here.
// Owns the archives' contents; the first program is images/guest/initramfs/init.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { cpioArchive, type CpioEntry } from './cpio.ts';
import type { KernelModule } from './kernel-modules.ts';
import { staticFiles } from './root-file-system.ts';

/** Commands that the first program uses. */
const commands = 'sh mount insmod cp sleep switch_root'.split(' ');

/** @param busybox the program's bytes; it needs no library */
export function kernelPart(busybox: Uint8Array, modules: readonly KernelModule[]): Buffer {
  return cpioArchive([
    ...['dev', 'proc', 'sys', 'root'].map((path): CpioEntry => ({ path, type: 'directory', mode: 0o755 })),
    // The kernel opens it for the first program, before devtmpfs is mounted.
    { path: 'dev/console', type: 'device', mode: 0o600, major: 5, minor: 1 },
    { path: 'bin/busybox', type: 'file', mode: 0o755, content: busybox },
    ...commands.map((name): CpioEntry => ({ path: `bin/${name}`, type: 'link', target: 'busybox' })),
    ...modules.map(({ path, content }): CpioEntry => ({
      path: `modules/${basename(path)}`,
      type: 'file',
      mode: 0o644,
      content,
    })),
    {
      path: 'modules/order',
      type: 'file',
      mode: 0o644,
      content: Buffer.from(modules.map(({ path }) => `${basename(path)}\n`).join('')),
    },
  ]);
}

/** Follows the kernel's part: the kernel unpacks both into one tree. */
export function agentPart(agent: readonly CpioEntry[]): Buffer {
  const init = readFileSync(join(staticFiles, 'initramfs/init'));
  return cpioArchive([{ path: 'init', type: 'file', mode: 0o755, content: init }, ...agent]);
}
