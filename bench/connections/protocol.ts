// What a bench and its process of clients say to each other, over Node's channel between parent and child.
import type { Target } from './websocket.ts';

/** What is done behind the connections: limits all the time, and besides one of the others at a time. */
export const changes = ['limits', 'deployment', 'wake', 'controller', 'upgrade'] as const;
export type Change = (typeof changes)[number];
/** Messages that are due while clients connect or the end is waited for are `apart`, and count in neither; `starting` is bench/upgrade.ts's. */
export type Phase = 'quiet' | Change | 'starting' | 'apart';

/** When a message is due, as far as figures ask: it is counted there, however late its answer comes. */
export interface Moment {
  readonly phase: Phase;
  /** Quiet and changes take turns; from 0. */
  readonly round: number;
}

export type Command =
  /** Answered once so many are open, with how long that took. */
  | { readonly do: 'open'; readonly target: Target; readonly count: number }
  /** So many messages a second from now on, of all clients in turn; 0: none. */
  | { readonly do: 'speak'; readonly perSecond: number }
  /** What is due from now on counts as this. */
  | { readonly do: 'during'; readonly moment: Moment }
  /** Answered when nothing is waited for any more, or time is up. */
  | { readonly do: 'settle'; readonly withinMs: number }
  /** One message of one client; answered with how long its answer took. */
  | { readonly do: 'ask'; readonly client: number }
  /** One message of each client at once; answered when all have their answers, or time is up, with how long that took. */
  | { readonly do: 'askAll'; readonly withinMs: number }
  | { readonly do: 'account' };

/** Of the messages of one moment that were answered. */
export interface Samples {
  readonly moment: Moment;
  /** From when each message was due until its answer came. */
  readonly latenciesMs: Float64Array;
  /** Silences: how long nothing at all came while something was waited for. */
  readonly gapsMs: Float64Array;
  /** How long after it was due each message was sent: a timer's grain, and what kept the clients themselves. */
  readonly lateMs: Float64Array;
}

export interface Account {
  readonly open: number;
  readonly closes: number;
  readonly sent: number;
  readonly lost: number;
  readonly doubled: number;
  readonly reordered: number;
  /** The first few of what was no answer. */
  readonly strange: readonly string[];
  readonly strangeCount: number;
  /** Of the code that answered, in the order in which they were first heard. */
  readonly versions: readonly string[];
  readonly samples: readonly Samples[];
}

export type Request = Command & { readonly id: number };

export type Reply =
  | { readonly id: number; readonly tookMs: number }
  | { readonly id: number; readonly account: Account }
  | { readonly id: number; readonly error: string };
