// Replaces the gateway by a new process of the code that is on the disk now, while the one before goes on with what it
// carries. Owns the order of steps; the socket that both accept from is port.ts's, what leaving means src/gateway/gateway.ts.
//
//   launched ──says that it is ready, and accepts──▶ the gateway; the one before is told to leave, says so ──▶ ended, by itself
//       └──ends, or is late──▶ killed; the one before never heard of it
import { setTimeout as pause } from 'node:timers/promises';
import { BellowsError } from '../base/errors.ts';
import type { ProcessIdentity } from '../sys/process.ts';
import type { SupervisedChild } from './child.ts';
import { wordPipeOf, type Launched } from './launch.ts';

/** A start takes a third of a second; a controller or an agent that just crashed is back within two. */
const readyMs = 20_000;

/** One that is too busy to hear of it for so long goes on accepting beside the new one until it does. */
const leaveMs = 5_000;

/** Told to a gateway: take no new connections, finish what you carry, then end. */
export const leaveSignal = 'SIGUSR2';

export interface Upgraded {
  readonly pid: number;
  /** The process before; null when it had just crashed. */
  readonly before: number | null;
  readonly durationMs: number;
}

export interface UpgradeParts {
  readonly gateway: SupervisedChild;
  /** Of the new one, in addition. */
  readonly env: () => NodeJS.ProcessEnv;
  /** To be on record from its first moment on, so that it is found whatever happens to us. */
  readonly onLaunched: (identity: ProcessIdentity) => void;
  /** It goes on beside the new one until it ends. */
  readonly onLeaving: (identity: ProcessIdentity) => void;
  readonly logPath: string;
  readonly signal: AbortSignal;
}

/** @throws BellowsError UpgradeFailed when the new one does not get ready: everything is as before then */
export async function upgradeGateway(parts: UpgradeParts): Promise<Upgraded> {
  const { gateway, onLaunched, onLeaving } = parts;
  const startedMs = performance.now();
  const next = gateway.launchAnother(parts.env());
  if (next.identity !== undefined) onLaunched(next.identity);
  try {
    const why = await whyNotReady(next, parts.signal);
    if (why !== undefined)
      throw new BellowsError(
        'UpgradeFailed',
        `The new gateway does not get ready: ${why}. The one before goes on serving.`,
        `Look for the reason in ${parts.logPath}, repair it, and try again.`,
      );
    const former = gateway.replaceBy(next);
    if (former?.identity !== undefined) onLeaving(former.identity);
    if (former !== undefined) await untilItLeaves(former);
    return {
      pid: next.process.pid ?? 0,
      before: former?.process.pid ?? null,
      durationMs: Math.round(performance.now() - startedMs),
    };
  } catch (thrown) {
    next.process.kill('SIGKILL');
    await next.ended;
    throw thrown;
  }
}

/** Resolves when it takes no new connections any more: who comes after that meets the new code. */
async function untilItLeaves({ process, ended }: Launched): Promise<void> {
  const waiting = new AbortController();
  const late = pause(leaveMs, undefined, { signal: waiting.signal }).catch(() => undefined);
  const leaves = new Promise((resolve) => wordPipeOf(process)?.once('data', resolve));
  process.kill(leaveSignal);
  await Promise.race([leaves, ended, late]);
  waiting.abort();
}

/** Undefined when it is ready. */
async function whyNotReady(next: Launched, signal: AbortSignal): Promise<string | undefined> {
  const waiting = new AbortController();
  const late = pause(readyMs, `it was not within ${readyMs / 1000} s`, { signal: waiting.signal });
  const stopped = Promise.withResolvers<string>();
  const onAbort = (): void => stopped.resolve('Bellows was told to stop');
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  const ready = new Promise<undefined>((resolve) =>
    wordPipeOf(next.process)?.once('data', () => resolve(undefined)),
  );
  const ended = next.ended.then(({ code, signal: by }) =>
    by === null
      ? code === null
        ? 'it could not be started'
        : `it ended with status ${code}`
      : `it was ended by ${by}`,
  );
  try {
    return await Promise.race([ready, ended, stopped.promise, late.catch(() => 'late')]);
  } finally {
    waiting.abort();
    signal.removeEventListener('abort', onAbort);
  }
}
