import { afterEach, beforeEach, expect, test } from 'vitest';
import type { InstanceId, UnitId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import type { UnitEvent } from '../protocol/unit.ts';
import { acme, eventually, Harness } from './testing/harness.ts';

let harness: Harness;
beforeEach(async () => {
  harness = await Harness.start();
});
afterEach(() => harness.close());

const unit = 'u-1' as UnitId;

test.each<[string, UnitEvent['happened'], RegExp]>([
  [
    'unit.provisioned',
    { what: 'provisioned', pid: 7, from: 'template', durationMs: 90.4 },
    /ready after 90 ms/,
  ],
  [
    'unit.claimed',
    { what: 'claimed', beforeBytes: 0, afterBytes: 896 * mib, why: '' },
    /0 B → 896 MiB of memory are claimed/,
  ],
  [
    'unit.released',
    { what: 'released', beforeBytes: 896 * mib, afterBytes: 0, why: 'memory is short inside' },
    /896 MiB → 0 B.*: memory is short inside\./,
  ],
  [
    'unit.lost',
    { what: 'lost', instances: ['i-1' as InstanceId], code: 'GuestHung', reason: 'it was silent' },
    /was lost, 1 ran in it: it was silent\./,
  ],
  ['unit.stopped', { what: 'stopped', reason: 'its last instance ended' }, /its last instance ended/],
])('%s is in the audit log, with the machine, whose it was and all facts', async (type, happened, words) => {
  harness.agent.emit({ event: 'unit', data: { unit, tenant: acme, happened } });
  const { what: _, ...facts } = happened;
  await eventually(async () =>
    expect(await harness.events(type)).toMatchObject([
      { tenant: acme, message: expect.stringMatching(words), data: { unit, ...facts } },
    ]),
  );
});
