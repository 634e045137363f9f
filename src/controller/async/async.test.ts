// Asynchronous invocations seen from outside: accepted once, tried again, reported when given up, never lost.
import { afterEach, expect, test } from 'vitest';
import { parseWorkloadName } from '../../base/ids.ts';
import type { FunctionWorkload } from '../../model/workload.ts';
import type { Tuning } from '../config.ts';
import type { Outcome } from './retry.ts';
import { acme, eventually, fn, Harness, type TestGateway } from '../testing/harness.ts';

let harness: Harness;
let gateway: TestGateway;
let hello: FunctionWorkload;
const seen: { requestId: string; event: string; clientContext: string }[] = [];

const now = { plan: false, waitMs: 0 };

async function begin(
  outcome: (attempt: number) => Outcome | 'hang',
  tuning: Partial<Tuning> = {},
): Promise<void> {
  harness = await Harness.start(tuning);
  seen.length = 0;
  await connect(outcome);
  await harness.control.deploy(acme, fn('hello'), { mustCreate: true });
  hello = harness.control.getWorkload(acme, parseWorkloadName('hello')) as FunctionWorkload;
}

async function connect(outcome: (attempt: number) => Outcome | 'hang'): Promise<void> {
  gateway = await harness.gateway({
    invoke: async ({ requestId, event, clientContext }) => {
      seen.push({ requestId, event, clientContext });
      const result = outcome(seen.length);
      if (result === 'hang') return new Promise(() => undefined);
      return { outcome: result, payload: '{"errorType":"Error"}' };
    },
  });
}

afterEach(async () => {
  gateway.client.close();
  await harness.close();
});

test('an event reaches the function as it was sent, once when it succeeds', async () => {
  await begin(() => 'ok');
  await gateway.client.call('enqueue', {
    workload: hello.key,
    requestId: 'r-1',
    event: '{"a":"ü"}',
    clientContext: 'c',
  });
  await eventually(() =>
    expect(seen).toEqual([{ requestId: 'r-1', event: '{"a":"ü"}', clientContext: 'c' }]),
  );
  await harness.restart();
  await connect(() => 'ok');
  expect(seen).toHaveLength(1);
});

test('the same request sent twice is queued once', async () => {
  await begin(() => 'hang');
  await harness.control.enqueue(hello, 'r-1', '{}', '');
  await harness.control.enqueue(hello, 'r-1', '{}', '');
  await eventually(() => expect(seen).toHaveLength(1));
});

test('a failing function is tried three times, then the event is reported with its size and error', async () => {
  await begin(() => 'functionError');
  await harness.control.enqueue(hello, 'r-1', '{"x":1}', '');
  await eventually(async () => expect(await harness.events('async.failed')).toHaveLength(1));
  expect(seen).toHaveLength(3);
  const [event] = await harness.events('async.failed');
  expect(event).toMatchObject({
    workload: hello.key,
    data: { requestId: 'r-1', eventBytes: 7, error: '{"errorType":"Error"}' },
  });
});

test('throttling does not count as an attempt', async () => {
  await begin((attempt) => (attempt <= 5 ? 'throttled' : attempt <= 7 ? 'functionError' : 'ok'));
  await harness.control.enqueue(hello, 'r-1', '{}', '');
  await eventually(() => expect(seen).toHaveLength(8));
  expect(await harness.events('async.failed')).toEqual([]);
});

test('no more are tried at once than the tenant may run, and the rest follow without waiting for a pause', async () => {
  let running = 0;
  let most = 0;
  await begin(() => 'ok');
  gateway.client.close();
  gateway = await harness.gateway({
    invoke: async ({ requestId, event, clientContext }) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      // As a gateway at this limit answers.
      const outcome = running > 2 ? 'throttled' : 'ok';
      running -= 1;
      if (outcome === 'ok') seen.push({ requestId, event, clientContext });
      return { outcome, payload: '' };
    },
  });
  await harness.control.setLimits(acme, { concurrency: 2 }, now);
  await Promise.all(
    Array.from({ length: 30 }, (_, index) => harness.control.enqueue(hello, `r-${index}`, '{}', '')),
  );
  await eventually(() => expect(new Set(seen.map(({ requestId }) => requestId)).size).toBe(30));
  expect(most).toBe(2);
});

test.each([
  ["a raised limit of the tenant's", () => harness.control.setLimits(acme, { concurrency: 1 }, now)],
  ['a reservation that is given up', () => harness.control.setReservedConcurrency(acme, hello.name, null)],
])('%s ends the pause of what was throttled', async (_what, change) => {
  let isRaised = false;
  await begin(() => (isRaised ? 'ok' : 'throttled'), {
    asyncThrottleFirstMs: 3_600_000,
    asyncThrottleLongestMs: 3_600_000,
  });
  await harness.control.setLimits(acme, { concurrency: 0 }, now);
  await harness.control.enqueue(hello, 'r-1', '{}', '');
  await eventually(() => expect(seen).toHaveLength(1));
  isRaised = true;
  await change();
  await eventually(() => expect(seen).toHaveLength(2));
});

test('what was accepted or under way when the controller ended is worked on by the next', async () => {
  await begin(() => 'hang');
  await Promise.all(
    Array.from({ length: 40 }, (_, index) => harness.control.enqueue(hello, `r-${index}`, String(index), '')),
  );
  await eventually(() => expect(seen.length).toBeGreaterThan(0));
  gateway.client.close();
  await harness.restart();
  seen.length = 0;
  await connect(() => 'ok');
  await eventually(() => expect(new Set(seen.map(({ requestId }) => requestId)).size).toBe(40));
});

test('events of a removed function are reported, not dropped', async () => {
  await begin(() => 'throttled');
  await harness.control.enqueue(hello, 'r-1', '{}', '');
  await eventually(() => expect(seen).not.toEqual([]));
  await harness.control.deleteWorkload(acme, hello.name);
  await eventually(async () =>
    expect(await harness.events('async.failed')).toMatchObject([
      { data: { requestId: 'r-1', reason: 'the function was removed' } },
    ]),
  );
});

test('without a gateway an event waits for one', async () => {
  await begin(() => 'ok');
  gateway.client.close();
  await eventually(async () => {
    const answer = await harness.control.invoke(hello, '{}').catch((error: { code: string }) => error.code);
    expect(answer).toBe('Unavailable');
  });
  await harness.control.enqueue(hello, 'r-1', '{}', '');
  const attempts = () => seen.filter(({ requestId }) => requestId === 'r-1').length;
  expect(attempts()).toBe(0);
  await connect(() => 'ok');
  await eventually(() => expect(attempts()).toBe(1));
});
