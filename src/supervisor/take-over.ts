// Ends what a supervisor left running that was killed itself. Its children went on serving until now, and what they
// started goes on: instances are adopted by the new ones. Gateways go on, too, until the new ones have what they carry. Owns order and patience; identities are src/sys/process.ts's.
import { setTimeout as pause } from 'node:timers/promises';
import { BellowsError } from '../base/errors.ts';
import { isAlive, sendSignal, type ProcessIdentity } from '../sys/process.ts';
import type { ChildName, ProcessRecord } from './records.ts';

/** How long each may take. The gateway's own patience with running requests is 10 s (src/gateway/config.ts). */
const patience: readonly { readonly name: ChildName; readonly graceMs: number }[] = [
  { name: 'gateway', graceMs: 12_000 },
  { name: 'controller', graceMs: 5_000 },
  // Asked to stop, an agent may take its instances along; killed, it leaves them to the next.
  { name: 'agent', graceMs: 0 },
  { name: 'host-agent', graceMs: 0 },
  // Whoever comes next looks at what is left anew.
  { name: 'sweep', graceMs: 0 },
];
/** A killed process that is still there after so long hangs in the kernel. */
const killedMs = 5_000;
const pollMs = 10;

export function leftRunning(record: ProcessRecord): ChildName[] {
  return patience.map(({ name }) => name).filter((name) => identitiesOf(record, name).some(isAlive));
}

function identitiesOf(record: ProcessRecord, name: ChildName): ProcessIdentity[] {
  const identity = record.children[name];
  const more = name === 'gateway' ? record.gateways : [];
  return [...(identity === undefined ? [] : [identity]), ...more];
}

/**
 * @param goOn gateways that are not ended: the next ones take over from them
 * @throws BellowsError when one does not even end when killed
 */
export async function endLeftRunning(
  record: ProcessRecord,
  goOn: readonly ProcessIdentity[] = [],
): Promise<void> {
  const isEnded = ({ pid }: ProcessIdentity): boolean => goOn.every((each) => each.pid !== pid);
  for (const { name, graceMs } of patience) {
    const ended = identitiesOf(record, name).filter(isEnded);
    await Promise.all(ended.map((identity) => end(name, identity, graceMs)));
  }
}

/** Asks it to end, and makes it when it has not in time. @throws BellowsError when it does not even end when killed */
export async function end(name: ChildName, identity: ProcessIdentity, graceMs: number): Promise<void> {
  if (graceMs > 0) {
    sendSignal(identity, 'SIGTERM');
    if (await gone(identity, graceMs)) return;
  }
  sendSignal(identity, 'SIGKILL');
  if (await gone(identity, killedMs)) return;
  throw new BellowsError(
    'Unavailable',
    `The ${name} of an earlier Bellows (process ${identity.pid}) does not end, not even when killed.`,
    `See what it waits for: cat /proc/${identity.pid}/stack, then start again.`,
  );
}

async function gone(identity: ProcessIdentity, withinMs: number): Promise<boolean> {
  const until = performance.now() + withinMs;
  while (isAlive(identity)) {
    if (performance.now() > until) return false;
    await pause(pollMs);
  }
  return true;
}
