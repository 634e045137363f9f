// The limit of what leads out of the unit through QEMU's user networking, both ways: there the host has no device of its
// own to limit. Owns the queueing rules of that device inside. A tap is limited outside, by its owner.
import { existsSync } from 'node:fs';
import { messageOf } from '../../base/errors.ts';
import { mib } from '../../base/quantity.ts';
import { runProgram } from './run-program.ts';

/** So long may a packet wait for its turn; what waits longer is dropped, and TCP slows down. */
const latency = '400ms';
/** At least some full packets with segmentation offload; at most what a second brings. */
const minBurstBytes = 64 * 1024;
const maxBurstBytes = mib;
/** Bytes that may pass at once: what the rate brings in 20 ms, for a timer does not run more often. */
const burstMs = 20;

type Command = [string, ...string[]];

export function burstBytes(bytesPerSecond: number): number {
  const burst = Math.round((bytesPerSecond * burstMs) / 1000);
  return Math.min(maxBurstBytes, Math.max(minBurstBytes, burst));
}

/** What sets a limit on a device that has none. Pure. */
export function limitCommands(device: string, bytesPerSecond: number): Command[] {
  const rate = `${Math.max(1, Math.round(bytesPerSecond * 8))}bit`;
  const burst = String(burstBytes(bytesPerSecond));
  return [
    [
      'tc',
      'qdisc',
      'replace',
      'dev',
      device,
      'root',
      'tbf',
      'rate',
      rate,
      'burst',
      burst,
      'latency',
      latency,
    ],
    ['tc', 'qdisc', 'add', 'dev', device, 'handle', 'ffff:', 'ingress'],
    [
      ...(['tc', 'filter', 'add', 'dev', device, 'parent', 'ffff:', 'protocol', 'all', 'matchall'] as const),
      ...['action', 'police', 'rate', rate, 'burst', burst, 'conform-exceed', 'drop'],
    ],
  ];
}

export async function setBandwidth(device: string, bytesPerSecond: number | null): Promise<void> {
  if (!existsSync(`/sys/class/net/${device}`)) return;
  // A police rate can not be changed in place; without it, for some milliseconds, there is no limit for what comes in.
  await remove(['tc', 'qdisc', 'del', 'dev', device, 'ingress']);
  if (bytesPerSecond === null) {
    await remove(['tc', 'qdisc', 'del', 'dev', device, 'root']);
    return;
  }
  for (const command of limitCommands(device, bytesPerSecond)) await runProgram(command);
}

/** Removing what is not there is no error; the kernel's words for it are those for a handle of nothing. */
async function remove(command: Command): Promise<void> {
  await runProgram(command).catch((thrown: unknown) => {
    if (!/No such file or directory|Invalid handle|Cannot find/i.test(messageOf(thrown))) throw thrown;
  });
}
