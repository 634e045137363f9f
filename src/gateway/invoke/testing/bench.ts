// A pool of one function with links, clock and controller played by the test, which has fake timers.
import { FrameBatch } from '../../../base/frame-batch.ts';
import { frameHeaderBytes } from '../../../base/frame.ts';
import type { InstanceId, TenantId, WorkloadKey, WorkloadName } from '../../../base/ids.ts';
import { decodeInvoke, encodeResult, frameType, outcome } from '../../../protocol/instance.ts';
import type { WorkloadRoute } from '../../../protocol/routes.ts';
import { defaultInvokeTuning } from '../../config.ts';
import { FunctionConcurrency, TenantConcurrency } from '../concurrency.ts';
import { FunctionPool } from '../function-pool.ts';
import { Invocation, type Failure } from '../invocation.ts';
import { enoughSamples } from '../service-times.ts';

export const route: WorkloadRoute = {
  key: 'acme/fn' as WorkloadKey,
  tenant: 'acme' as TenantId,
  name: 'fn' as WorkloadName,
  kind: 'function',
  generation: 'g1',
  timeoutMs: 1000,
  memoryBytes: 1,
  url: true,
  websocket: null,
  reservedConcurrency: null,
};

/** An invocation that an instance was sent; its name is its event. */
interface Sent {
  readonly id: number;
  readonly name: string;
}

/** Reads what was written to a link. */
export function sentBy(write: (batch: FrameBatch) => void): Sent {
  const batch = new FrameBatch();
  write(batch);
  const frame = batch.take();
  return {
    id: frame.readUInt32LE(5),
    name: decodeInvoke(frame.subarray(frameHeaderBytes)).event.toString(),
  };
}

export class Bench {
  /** Invocations that each instance was sent and has not answered, by name. */
  readonly sent = new Map<string, Sent[]>();
  readonly ended: string[] = [];
  readonly discarded: string[] = [];
  readonly calls: string[] = [];
  readonly waiting: string[] = [];
  /** What was to be logged for instances that could not themselves. */
  readonly broken: string[] = [];
  acquire: () => Promise<InstanceId | null> = () => new Promise(() => {});
  readonly pool: FunctionPool;
  readonly tenant = new TenantConcurrency(route.tenant);

  freeze = async (): Promise<void> => {};
  hearOthers = async (): Promise<void> => {};

  constructor(more: Partial<WorkloadRoute> = {}, tuning: Partial<typeof defaultInvokeTuning> = {}) {
    const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
    this.pool = new FunctionPool(
      { ...route, ...more },
      {
        clock,
        acquire: () => {
          this.calls.push('acquire');
          return this.acquire();
        },
        spare: (waiting) => void this.calls.push(`spare ${waiting}`),
        discard: (id) => void this.discarded.push(id),
        freeze: async (id) => {
          this.calls.push(`freeze ${id}`);
          await this.freeze();
        },
        thaw: async (id) => void this.calls.push(`thaw ${id}`),
        logBroken: async (id, { durationMs, cause }) => {
          this.broken.push(`${id} ${cause.kind} ${Math.round(durationMs)} ms`);
          return Buffer.from(`tail of ${id}`);
        },
        idle: (id, sinceMs) => void this.calls.push(`${sinceMs === null ? 'busy' : 'idle'} ${id}`),
        hearOthers: () => this.hearOthers(),
        lending: { isHome: () => true, homeOf: () => undefined, say: () => {}, sayToHomes: () => {} },
      },
      { ...defaultInvokeTuning, ...tuning },
      new FunctionConcurrency(this.tenant),
    );
  }

  /** An instance whose link is open. */
  add(id: string, { generation = 'g1', frozen = false, starting = false } = {}): void {
    const frames: Sent[] = [];
    this.sent.set(id, frames);
    const sendWritten = (write: (batch: FrameBatch) => void): boolean => {
      frames.push(sentBy(write));
      return true;
    };
    this.pool.instances.add(
      { id: id as InstanceId, generation, starting, frozen },
      { sendWritten, pause() {}, resume() {}, close() {} },
    );
    this.pool.instances.linkOpened(id as InstanceId);
  }

  /** One that has just loaded its code. */
  serve(id: string): void {
    this.pool.instances.onFrame(id as InstanceId, {
      type: frameType.serving,
      id: 0,
      payload: Buffer.alloc(0),
    });
  }

  submit(name: string): Invocation {
    const invocation = new Invocation(name, {
      onResult: ({ body }) => void this.ended.push(`${name} ${body}`),
      onFailure: (failure: Failure) =>
        void this.ended.push(
          `${name} ${failure.kind} ${'payload' in failure ? (JSON.parse(failure.payload) as { errorType: string }).errorType : ''}`.trim(),
        ),
    });
    this.pool.submit(invocation);
    return invocation;
  }

  /** @param ranMs by the instance's own clock */
  answer(id: string, how: 0 | 1 | 2 = outcome.ok, ranMs = 0.001): void {
    const first = this.sent.get(id)?.shift();
    if (first === undefined) throw new Error(`${id} was asked nothing`);
    const payload = encodeResult(
      { outcome: how, durationMicros: ranMs * 1000, peakKib: 1 },
      Buffer.alloc(0),
      'ok',
    );
    this.pool.instances.onFrame(id as InstanceId, { type: frameType.result, id: first.id, payload });
  }

  names(id: string): string[] {
    return (this.sent.get(id) ?? []).map(({ name }) => name);
  }

  /** Lets it learn that the function is fast. */
  warmUp(id: string): void {
    for (let n = 0; n < enoughSamples; n += 1) {
      this.submit('warm');
      this.answer(id);
    }
    this.ended.length = 0;
  }
}
