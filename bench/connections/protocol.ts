// What a bench and its process of clients say to each other, over Node's channel between parent and child.
import type { Target } from './websocket.ts';

/** Whether anything is changed behind the connections; messages that are due while it settles count in neither. */
export const phases = ['quiet', 'changing', 'apart'] as const;
export type Phase = (typeof phases)[number];

export type Command =
  /** Answered once so many are open, with how long that took. */
  | { readonly do: 'open'; readonly target: Target; readonly count: number }
  /** So many messages a second from now on, of all clients in turn; 0: none. */
  | { readonly do: 'speak'; readonly perSecond: number; readonly phase: Phase }
  /** Answered when nothing is waited for any more, or time is up. */
  | { readonly do: 'settle'; readonly withinMs: number }
  /** One message of one client; answered with how long its answer took. */
  | { readonly do: 'ask'; readonly client: number }
  | { readonly do: 'account' };

export interface PhaseSamples {
  /** From when each message was due until its answer came. */
  readonly latenciesMs: Float64Array;
  /** Silences: how long nothing at all came while something was waited for. */
  readonly gapsMs: Float64Array;
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
  readonly phases: Readonly<Record<Phase, PhaseSamples>>;
}

export type Request = Command & { readonly id: number };

export type Reply =
  | { readonly id: number; readonly tookMs: number }
  | { readonly id: number; readonly account: Account }
  | { readonly id: number; readonly error: string };
