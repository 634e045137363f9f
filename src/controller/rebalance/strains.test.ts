// What is done about an instance that has less memory than was asked for it and needs more, over parts that record.
import { beforeEach, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import { createLogger } from '../../sys/log.ts';
import type { AuditInput } from '../audit.ts';
import { ActualState, type Tracked } from '../state/actual.ts';
import { acme, mebibytes } from '../testing/harness.ts';
import { Strains } from './strains.ts';

const id = 'i-1' as InstanceId;
let nowMs = 0;
const clock: Clock = { ...systemClock, nowMs: () => nowMs, monotonicMs: () => nowMs };
let limit: number | null = null;
let actual: ActualState;
let strains: Strains;
let asked: string[];
let takenBack: number[];
let events: AuditInput[];

beforeEach(() => {
  [nowMs, limit, asked, takenBack, events] = [0, null, [], [], []];
  actual = new ActualState();
  const memory = mebibytes(128);
  actual.set({
    spec: { id, tenant: acme, workload: 'acme/fn' },
    life: { phase: 'serving', known: { info: { id, grant: { memory }, desired: { memory } } } },
  } as unknown as Tracked);
  strains = new Strains({
    rebalancer: { strained: (of) => asked.push(of) },
    actual,
    desired: { tenant: () => ({ limits: { memory: limit } }) as never },
    audit: { note: (event) => events.push(event) },
    clock,
    log: createLogger('controller', 'silent'),
    growthWaits: async (bytes) => void takenBack.push(bytes),
  });
});

const tell = (strain: 'easy' | 'near' | 'waiting', limitMib = 128): void =>
  strains.onStrained({ id, strain, limitBytes: mebibytes(limitMib), requestedBytes: mebibytes(256) });

test('M-B4: who comes near has memory divided anew for it, and nobody is told or disturbed yet', () => {
  tell('near');
  expect([asked, takenBack, events]).toEqual([[id], [], []]);
  expect(strains.of(id)).toMatchObject({ is: 'near', requestedBytes: mebibytes(256) });
});

test('M-B4 M-E3: that one waits is one event with who, what and why, and what idle ones do not need is taken back', async () => {
  tell('near');
  tell('waiting');
  tell('waiting');
  expect(events).toEqual([
    {
      type: 'memory.waiting',
      tenant: acme,
      workload: 'acme/fn',
      instance: id,
      message:
        'acme/fn waits for memory: it has 128 MiB of the 256 MiB that were asked for it. All that may be granted here is, and nobody else can spare more now.',
      data: {
        limitBytes: mebibytes(128),
        requestedBytes: mebibytes(256),
        reason: 'All that may be granted here is, and nobody else can spare more now.',
      },
    },
  ]);
  expect(takenBack).toEqual([mebibytes(128), mebibytes(128)]);
  await Promise.resolve();
  // Once for each word of the agent's, and again when something was taken back.
  expect(asked).toEqual([id, id, id, id, id]);
});

test('M-E3: that it waits no more is told with how long it did, and it is not shown any more', () => {
  tell('waiting');
  nowMs = 3_000;
  tell('near', 192);
  nowMs = 4_000;
  tell('easy', 256);
  expect(events.map(({ type }) => type)).toEqual(['memory.waiting', 'memory.resumed']);
  expect(events[1]?.data).toEqual({ limitBytes: mebibytes(256), durationMs: 4_000 });
  expect(strains.of(id)).toBeUndefined();
  tell('near');
  tell('easy');
  expect(events).toHaveLength(2);
});

test('where its tenant’s own limit is what is short, that is the reason, and others are not asked for anything', () => {
  limit = mebibytes(130);
  tell('waiting');
  expect(takenBack).toEqual([]);
  expect(strains.of(id)?.reason).toBe("All of its tenant's limit, 130MiB, is granted.");
  limit = mebibytes(512);
  tell('waiting');
  expect(takenBack).toEqual([mebibytes(128)]);
});

test('one that has ended is forgotten, and what is told of it later does nothing', () => {
  tell('waiting');
  actual.remove(id, 'it ended');
  expect(strains.of(id)).toBeUndefined();
  tell('waiting');
  expect(strains.of(id)).toBeUndefined();
  expect(asked).toHaveLength(1);
});
