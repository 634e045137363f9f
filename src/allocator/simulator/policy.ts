// What is compared: policies as data. Pure.
import { defaultVictimPolicy } from '../reclaim/victims.ts';
import { hostKeepAlive, usualKeepAliveMs, virtualKeepAlive, type KeepAlive } from '../arrivals/keeping.ts';

export interface SimulatedPolicy {
  readonly name: string;
  /** How long an idle instance stays, and when one is there again. */
  readonly keepAlive: KeepAlive;
  /** Idle for so long, an instance is granted what it uses until it is thawed, and is trimmed; null never does that. */
  readonly rest: { readonly freezeAfterMs: number; readonly trimAfterMs: number } | null;
  /** Whether an instance is granted what it is expected to need, or what was asked for it. */
  readonly grants: 'demand' | 'request';
}

/** As most platforms do it: ten minutes, untouched, with all that was asked for. */
export const fixedKeepAlive: SimulatedPolicy = {
  name: 'fixed ten-minute keep-alive',
  keepAlive: { type: 'fixed', keptMs: usualKeepAliveMs },
  rest: null,
  grants: 'request',
};

export const bellows: SimulatedPolicy = {
  name: 'Bellows',
  keepAlive: hostKeepAlive,
  // The gateway's own time until it freezes: src/gateway/config.ts.
  rest: { freezeAfterMs: 2_000, trimAfterMs: defaultVictimPolicy.idleThresholdMs },
  grants: 'demand',
};

/** As the controller does it as long as there is room: a fixed time, whatever was asked for, nothing trimmed before it is needed. */
export const live = (keepAliveMs: number): SimulatedPolicy => ({
  ...fixedKeepAlive,
  name: 'the live controller',
  keepAlive: { type: 'fixed', keptMs: keepAliveMs },
});

/** As in virtual machines: ten minutes, and not four hours, where little is known of a function's calls. */
export const forgetsSooner: SimulatedPolicy = {
  ...bellows,
  name: 'Bellows, ten minutes while little is known',
  keepAlive: virtualKeepAlive,
};

/** One part of it alone, to see what it is that helps. */
export const trimsAlone: SimulatedPolicy = {
  ...fixedKeepAlive,
  name: 'fixed keep-alive, idle instances trimmed',
  rest: bellows.rest,
  grants: 'demand',
};
export const windowsAlone: SimulatedPolicy = {
  ...fixedKeepAlive,
  name: 'hybrid windows, nothing trimmed',
  keepAlive: bellows.keepAlive,
};
