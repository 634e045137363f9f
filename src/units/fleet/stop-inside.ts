// Ending an instance inside its unit when the guest takes long: a slow guest is not taken for a dead one. Owns the steps.
//
//   asked ──ended──▶ ended
//     │ nothing within its grace and answerMs
//     ├── nobody else is in the machine ──▶ `machine`: the machine's end is the instance's, and asks nothing of the guest
//     └── others are ──▶ asked whether it lives ──no──▶ hung
//                             └──yes──▶ waits on, up to slowMs ──▶ not ended
import type { InstanceId } from '../../base/ids.ts';
import { BellowsError, messageOf } from '../../base/errors.ts';
import type { FleetTuning } from './config.ts';
import type { GuestCalls } from './guest-calls.ts';

export interface StopRequest {
  readonly id: InstanceId;
  readonly graceMs: number;
  readonly reason: string;
}

/** `inside`: the guest's agent says that it is gone; `machine`: it goes with its machine, in which it is alone. */
export type StoppedBy = 'inside' | 'machine';

/** @throws BellowsError GuestHung, or UnitLost when the guest lives and does not end it all the same */
export async function stopInside(
  guest: GuestCalls,
  request: StopRequest,
  isAlone: () => boolean,
  { stopAnswerMs, stopSlowMs, hungAfterMs }: Pick<FleetTuning, 'stopAnswerMs' | 'stopSlowMs' | 'hungAfterMs'>,
): Promise<StoppedBy> {
  const patienceMs = request.graceMs + stopAnswerMs;
  // Asked once, for the longest of times: an answer that comes late is an answer.
  const stopping = guest.call('stop', request, { timeoutMs: patienceMs + stopSlowMs });
  const outcome = await inTime(stopping, patienceMs);
  if (outcome === 'done') return 'inside';
  if (isAlone()) return 'machine';
  if (outcome === 'late') {
    try {
      await Promise.race([stopping, guest.call('readClock', {}, { timeoutMs: hungAfterMs })]);
    } catch (thrown) {
      throw new BellowsError(
        'GuestHung',
        `it did not end an instance, nor answer anything (${messageOf(thrown)})`,
      );
    }
  }
  try {
    await stopping;
    return 'inside';
  } catch (thrown) {
    throw new BellowsError('UnitLost', `it did not end an instance in time (${messageOf(thrown)})`);
  }
}

async function inTime(work: Promise<unknown>, patienceMs: number): Promise<'done' | 'late' | 'failed'> {
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => resolve('late'), patienceMs);
  try {
    return await Promise.race([
      late,
      work.then(
        (): 'done' => 'done',
        (): 'failed' => 'failed',
      ),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
