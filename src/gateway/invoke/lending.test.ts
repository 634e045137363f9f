// Two gateways and the instances of one function: who sends to which, with links, clock and controller played by the test.
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { FrameBatch } from '../../base/frame-batch.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { LendingWord } from '../../protocol/beside.ts';
import { encodeElsewhere, encodeResult, frameType, outcome } from '../../protocol/instance.ts';
import { homeOf } from '../beside/home.ts';
import { defaultInvokeTuning } from '../config.ts';
import { FunctionConcurrency, TenantConcurrency } from './concurrency.ts';
import { FunctionPool } from './function-pool.ts';
import { Invocation } from './invocation.ts';
import { route as anyRoute, sentBy } from './testing/bench.ts';

const route = { ...anyRoute, timeoutMs: 60_000 };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** An instance runs one after the other, and tells each gateway of the others' as the runtime does. */
class Instance {
  readonly #bench: Bench;
  readonly #id: InstanceId;
  readonly queue: { readonly place: number; readonly frameId: number; readonly name: string }[] = [];

  #runs = false;

  constructor(bench: Bench, id: InstanceId) {
    this.#bench = bench;
    this.#id = id;
  }

  receive(place: number, frameId: number, name: string): void {
    if (this.queue.some((other) => other.place !== place)) this.#bench.mixed += 1;
    this.queue.push({ place, frameId, name });
    this.#tellOthers(place);
    if (!this.#runs) this.#run();
  }

  #run(): void {
    const head = this.queue[0];
    this.#runs = head !== undefined;
    if (head === undefined) return;
    const [, durationMs = '0'] = head.name.split(':');
    setTimeout(() => {
      // Its gateway was killed: nobody is answered, and the instance goes on.
      this.queue.shift();
      const payload = encodeResult(
        { outcome: outcome.ok, durationMicros: Number(durationMs) * 1000, peakKib: 0 },
        Buffer.alloc(0),
        '',
      );
      this.#bench.tell(head.place, this.#id, frameType.result, head.frameId, payload);
      this.#tellOthers(head.place);
      this.#run();
    }, Number(durationMs));
  }

  #tellOthers(place: number): void {
    const other = 1 - place;
    const count = this.queue.filter((each) => each.place !== other).length;
    this.#bench.tell(other, this.#id, frameType.elsewhere, 0, encodeElsewhere(count));
  }
}

class Bench {
  readonly answered = new Map<string, number>();
  readonly failed: string[] = [];
  readonly instances = new Map<InstanceId, Instance>();
  readonly froze: string[] = [];
  /** How often an instance was sent something while it had something of the other gateway. */
  mixed = 0;
  /** So many words are not heard, as of a gateway that is just being replaced. */
  unheard = 0;
  readonly pools: FunctionPool[];
  readonly #most: number;
  /** What stands for each gateway at the other. */
  readonly #names = [{}, {}];
  readonly #alive = [true, true];

  constructor(most: number) {
    this.#most = most;
    this.pools = [0, 1].map((place) => this.#pool(place));
  }

  #pool(place: number): FunctionPool {
    const say = (id: InstanceId, word: LendingWord): void => {
      if (!this.#alive[1 - place]) return;
      if (this.unheard > 0) {
        this.unheard -= 1;
        return;
      }
      setTimeout(() => {
        if (this.#alive[place] && this.#alive[1 - place])
          this.pools[1 - place]!.lending.heard(this.#names[place]!, id, word);
      }, 0);
    };
    return new FunctionPool(
      route,
      {
        clock: { nowMs: () => Date.now(), monotonicMs: () => performance.now() },
        acquire: async () => {
          await new Promise((resolve) => setTimeout(resolve, 30));
          if (this.instances.size >= this.#most) throw new BellowsError('LimitReached', 'No more.');
          return this.add();
        },
        spare: () => {},
        discard: () => {},
        freeze: async (id) => void this.froze.push(`${place} ${id}`),
        thaw: async () => {},
        logBroken: async () => Buffer.alloc(0),
        idle: () => {},
        hearOthers: async () => {},
        lending: {
          isHome: (id) => homeOf(id, 2) === place,
          homeOf: (id) => {
            const home = homeOf(id, 2);
            return home !== place && this.#alive[home] ? this.#names[home] : undefined;
          },
          say: (_, id, word) => say(id, word),
          sayToHomes: (id, word, except) => {
            if (homeOf(id, 2) !== place && except !== this.#names[1 - place]) say(id, word);
          },
        },
      },
      defaultInvokeTuning,
      new FunctionConcurrency(new TenantConcurrency(route.tenant)),
    );
  }

  add(): InstanceId {
    const id = `i-${this.instances.size}${Math.random()}` as InstanceId;
    const instance = new Instance(this, id);
    this.instances.set(id, instance);
    for (const [place, pool] of this.pools.entries()) {
      const sendWritten = (write: (batch: FrameBatch) => void): boolean => {
        const { id: frameId, name } = sentBy(write);
        instance.receive(place, frameId, name);
        return true;
      };
      pool.instances.add(
        { id, generation: 'g1', starting: false, frozen: false },
        { sendWritten, pause() {}, resume() {}, close() {} },
      );
      pool.instances.linkOpened(id);
    }
    return id;
  }

  tell(place: number, id: InstanceId, type: number, frameId: number, payload: Buffer): void {
    if (this.#alive[place]) this.pools[place]!.instances.onFrame(id, { type, id: frameId, payload });
  }

  submit(place: number, name: string): void {
    this.pools[place]!.submit(
      new Invocation(name, {
        onResult: () => void this.answered.set(name, (this.answered.get(name) ?? 0) + 1),
        onFailure: ({ kind }) => void this.failed.push(`${name} ${kind}`),
      }),
    );
  }

  /** The other's word, whatever it knows of it. */
  hears(place: number, id: InstanceId, word: LendingWord): void {
    this.pools[place]!.lending.heard(this.#names[1 - place]!, id, word);
  }

  /** As by kill -9. */
  kill(place: number): void {
    this.#alive[place] = false;
    this.pools[1 - place]!.lending.gone(this.#names[place]!);
  }

  idOf(place: number): InstanceId {
    for (;;) {
      const id = this.add();
      if (homeOf(id, 2) === place) return id;
    }
  }
}

test('the one instance that there may be serves both gateways in turn, whoever is at home with it, and never both at once', async () => {
  const bench = new Bench(1);
  bench.add();
  const expected = [];
  for (let index = 0; index < 40; index += 1) {
    for (const place of [0, 1]) {
      const name = `${place}.${index}:3`;
      expected.push(name);
      bench.submit(place, name);
    }
  }
  await vi.advanceTimersByTimeAsync(80);
  // Neither waits until the other has none left.
  for (const place of [0, 1])
    expect([...bench.answered.keys()].some((name) => name.startsWith(`${place}.`))).toBe(true);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(bench.failed).toEqual([]);
  expect([...bench.answered.keys()].toSorted()).toEqual(expected.toSorted());
  expect(bench.mixed).toBe(0);
});

test('an idle instance of the other gateway is used before another is started', async () => {
  const bench = new Bench(5);
  bench.idOf(0);
  const before = bench.instances.size;
  bench.submit(1, 'first:1');
  await vi.advanceTimersByTimeAsync(5);
  expect(bench.answered.get('first:1')).toBe(1);
  expect(bench.instances.size).toBe(before);
});

test('what was borrowed and is not used is given back, and frozen by the gateway that is at home with it, and by no other', async () => {
  const bench = new Bench(5);
  const id = bench.idOf(0);
  for (let index = 0; index < 5; index += 1) bench.submit(1, `${index}:1`);
  for (let index = 0; index < 20; index += 1) {
    await vi.advanceTimersByTimeAsync(500);
    for (const pool of bench.pools) pool.sweep(true);
  }
  expect(bench.froze).toContain(`0 ${id}`);
  expect(bench.froze).not.toContain(`1 ${id}`);
  bench.submit(1, 'again:1');
  await vi.advanceTimersByTimeAsync(50);
  expect(bench.answered.get('again:1')).toBe(1);
});

test('M-E6: when a gateway is killed the other has its instances, those that it had borrowed and those that it was at home with', async () => {
  const bench = new Bench(2);
  bench.idOf(0);
  const most = bench.instances.size;
  for (let index = 0; index < most * 2; index += 1) bench.submit(0, `lost ${index}:50`);
  await vi.advanceTimersByTimeAsync(40);
  bench.kill(0);
  for (let index = 0; index < most * 2; index += 1) bench.submit(1, `${index}:5`);
  await vi.advanceTimersByTimeAsync(1_000);
  for (let index = 0; index < most * 2; index += 1) expect(bench.answered.get(`${index}:5`)).toBe(1);
  expect(bench.failed).toEqual([]);
});

/** There is one instance, which is at home with the first; by default no other can be had. */
function benchWithOne(most = 1): Bench {
  for (;;) {
    const bench = new Bench(most);
    if (homeOf(bench.add(), 2) === 0) return bench;
  }
}

test.each([0, 1])('a word that is not heard holds nobody up: gateway %i asks again', async (asking) => {
  const bench = benchWithOne();
  bench.submit(1 - asking, 'other:1');
  await vi.advanceTimersByTimeAsync(50);
  const sweeps = setInterval(() => bench.pools.forEach((pool) => pool.sweep(true)), 500);
  bench.unheard = 1;
  bench.submit(asking, 'held up:1');
  await vi.advanceTimersByTimeAsync(500);
  expect(bench.unheard).toBe(0);
  expect(bench.answered.get('held up:1')).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1_500);
  clearInterval(sweeps);
  expect(bench.failed).toEqual([]);
  expect(bench.answered.get('held up:1')).toBe(1);
});

test('who is believed to have one and has not says so, and it is used at once', async () => {
  const bench = benchWithOne();
  const [id] = [...bench.instances.keys()];
  bench.hears(0, id!, 'holds');
  bench.submit(0, 'at home:1');
  await vi.advanceTimersByTimeAsync(50);
  expect(bench.answered.get('at home:1')).toBe(1);
});

test('a gateway that stands still holds nobody up for long: what is at home with it is done without', async () => {
  const bench = benchWithOne(12);
  bench.unheard = Infinity;
  const sweeps = setInterval(() => bench.pools[1]!.sweep(true), 500);
  bench.submit(1, 'first:1');
  await vi.advanceTimersByTimeAsync(defaultInvokeTuning.maxWaitMs);
  expect(bench.failed).toEqual([]);
  expect(bench.answered.get('first:1')).toBe(1);
  bench.submit(1, 'later:1');
  await vi.advanceTimersByTimeAsync(50);
  expect(bench.answered.get('later:1')).toBe(1);
  clearInterval(sweeps);
});

test('whatever comes to two gateways when, every call is answered once, and no instance is sent to by both at once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(
        fc.record({
          place: fc.integer({ min: 0, max: 1 }),
          pauseMs: fc.constantFrom(0, 0, 0, 1, 7, 30, 600, 3_000),
          durationMs: fc.constantFrom(0, 0, 1, 10, 200),
        }),
        { minLength: 1, maxLength: 40 },
      ),
      async (most, calls) => {
        const bench = new Bench(most);
        const sweeps = setInterval(() => bench.pools.forEach((pool) => pool.sweep(true)), 500);
        for (const [index, { place, pauseMs, durationMs }] of calls.entries()) {
          await vi.advanceTimersByTimeAsync(pauseMs);
          bench.submit(place, `${index}:${durationMs}`);
        }
        await vi.advanceTimersByTimeAsync(9_000);
        clearInterval(sweeps);
        expect(bench.failed).toEqual([]);
        expect([...bench.answered.values()]).toEqual(calls.map(() => 1));
        expect(bench.mixed).toBe(0);
      },
    ),
    { numRuns: 150 },
  );
});
