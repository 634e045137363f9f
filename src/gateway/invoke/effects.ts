// What a function's pool does to the world, as functions that are passed in: tests pass others.
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { BrokenInvocation } from '../../protocol/agent.ts';
import type { LendingEffects } from './lending.ts';

export interface PoolEffects {
  readonly clock: Clock;
  /** Asks for one more instance; its slot is there when it resolves, unless it was given up: null. @throws BellowsError */
  acquire(generation: string, waiting: number): Promise<InstanceId | null>;
  /** So many wait, which is fewer than instances were asked for. */
  spare(waiting: number): void;
  discard(id: InstanceId, reason: string): void;
  /** @throws BellowsError NotSupportedHere when instances can not be frozen here. */
  freeze(id: InstanceId): Promise<void>;
  thaw(id: InstanceId): Promise<void>;
  /** What its instance can not log itself any more. To be told before `discard`, so that it is known when the
   *  instance ends. Resolves soon in any case, with the tail of the log, or empty. */
  logBroken(id: InstanceId, invocation: BrokenInvocation): Promise<Buffer>;
  /** It has idled since `sinceMs`, wall-clock time; null: it is in use again. */
  idle(id: InstanceId, sinceMs: number | null): void;
  /** Other gateways say what waits there now. */
  hearOthers(): Promise<void>;
  /** Towards other gateways. */
  readonly lending: Omit<LendingEffects, 'clock'>;
}
