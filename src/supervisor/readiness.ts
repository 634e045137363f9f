// Waiting until the whole answers: /healthz says ok. Owns the patience and the message when it never does.
import { setTimeout as pause } from 'node:timers/promises';
import { z } from 'zod';
import { BellowsError } from '../base/errors.ts';

const health = z.object({ status: z.string() });
const pollMs = 50;
/** One answer; a gateway that waits for the controller answers nothing for a while. */
const answerMs = 2_000;
/** A slow machine's first start, with the database made anew and instances adopted. */
const readyMs = 60_000;

/**
 * @param gaveUp says why waiting is pointless, or undefined
 * @param isItself whether what answers is what was started, and not what is to be replaced by it @throws BellowsError NotReady
 */
export async function waitUntilHealthy(
  url: string,
  gaveUp: () => string | undefined,
  isItself: () => boolean,
): Promise<void> {
  const until = performance.now() + readyMs;
  let last = 'nothing answers';
  for (;;) {
    const why = gaveUp() ?? (performance.now() > until ? `after ${readyMs / 1000} s, ${last}` : undefined);
    if (why !== undefined)
      throw new BellowsError(
        'NotReady',
        `Bellows does not get ready: ${why}.`,
        'See the log named above, or start with --verbose.',
      );
    const answer = await statusOf(url);
    if (answer === 'ok' && isItself()) return;
    if (answer === 'ok') last = 'the gateways of the Bellows before still serve';
    else if (answer !== undefined) last = `/healthz says ${JSON.stringify(answer)}`;
    await pause(pollMs);
  }
}

async function statusOf(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(answerMs) });
    const { status } = health.parse(await response.json());
    return response.ok ? status : `${response.status} ${status}`;
  } catch {
    return undefined;
  }
}
