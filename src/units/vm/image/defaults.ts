// What every guest is started with, whoever made its image: the kernel's command line, and the memory that it takes itself.
// Owns the two figures and their reasons.
import { mib } from '../../../base/quantity.ts';

/** Each with its reason; who starts a guest may add to it. */
export const defaultCommandLine = [
  'console=ttyS0 quiet',
  // A kernel that is broken reboots at once, which QEMU's -no-reboot makes an end.
  'panic=-1',
  // Nothing of version 1, which would keep its controllers from version 2.
  'cgroup_no_v1=all',
  // What no virtual machine has costs an emulated processor long waits: a keyboard controller, three more serial ports.
  '8250.nr_uarts=1 i8042.nokbd i8042.noaux i8042.nopnp',
  // A huge page that little of is used is memory that nobody can claim.
  'transparent_hugepage=madvise',
  // Buffers for devices that reach little memory, 64 MiB of them: virtio's reach all.
  'swiotlb=noforce',
].join(' ');

/**
 * Of a guest of 1216 MiB with an idle agent 1080 are available, by the kernel's word: 56 the kernel never shows as memory
 * (itself, and 1/64 of all for its own account of pages), 26 are the agent's heap, the rest is the kernel's and what it
 * keeps free. 46 more are counted as available and are the pages of Node's program that agent and instances run from;
 * the last 10 are for the agent to grow by.
 */
export const defaultOverheadBytes = 192 * mib;
