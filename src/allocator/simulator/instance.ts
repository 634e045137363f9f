// A function and its instances in virtual time: what is known of them. Owns their state, no decisions.
import { FunctionArrivals } from '../arrivals/function-arrivals.ts';
import { WorkloadPrediction } from '../demand/prediction.ts';
import { Calls, type Call, type SimulatedFunction } from './azure-day.ts';

/** A call that waits, and how many did when it came. */
export interface WaitingCall {
  readonly call: Call;
  readonly ahead: number;
}

export interface FunctionState {
  readonly of: SimulatedFunction;
  readonly calls: Calls;
  readonly prediction: WorkloadPrediction;
  readonly arrivals: FunctionArrivals;
  /** The most recently used one last: it is used next, so that the others go idle. */
  readonly idle: InstanceState[];
  busy: number;
  starting: number;
  readonly waiting: WaitingCall[];
  /** What a call took lately. */
  serviceMs: number | null;
  /** Calls so far: a pre-warming that was planned before the last one is void. */
  called: number;
  /** When it was called first. */
  knownSinceMs: number | null;
}

/**
 *   starting ──▶ idle ◀──▶ busy
 *                 │         ▲
 *               frozen ─────┤ a call
 *                 │         │
 *              trimmed ─────┘             idle, frozen, trimmed ──▶ gone
 */
export type Phase = 'starting' | 'idle' | 'busy' | 'frozen' | 'trimmed' | 'gone';

export interface InstanceState {
  readonly id: number;
  readonly function: FunctionState;
  phase: Phase;
  grantBytes: number;
  usedBytes: number;
  idleSinceMs: number;
  /** When it is looked at next, idle or not; Infinity when that is not planned. */
  lookAtMs: number;
}

/** What happens to them, each at its time. */
export type SimulatedEvent =
  | { readonly type: 'call'; readonly of: FunctionState; readonly call: Call }
  | { readonly type: 'started'; readonly instance: InstanceState }
  | {
      readonly type: 'ended';
      readonly instance: InstanceState;
      readonly call: Call;
      readonly usedBytes: number;
    }
  | { readonly type: 'look'; readonly instance: InstanceState }
  | { readonly type: 'prewarm'; readonly of: FunctionState; readonly called: number };

export function newFunction(of: SimulatedFunction, seed: number): FunctionState {
  return {
    of,
    calls: new Calls(of, seed),
    prediction: WorkloadPrediction.empty(),
    arrivals: new FunctionArrivals(),
    idle: [],
    busy: 0,
    starting: 0,
    waiting: [],
    serviceMs: null,
    called: 0,
    knownSinceMs: null,
  };
}
