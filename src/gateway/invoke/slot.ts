// One function instance as the gateway sees it: its link, what was sent to it, whether it may be sent more.
//
//   connecting ─open─▶ starting ─serves─▶ ready ◀──────────────┐
//     ▲  │  ▲             │                │ │idle             │
//     │  │  └──link lost──┘                │ │                 │
//     │  └──open, serves already──────────▶│ │                 │
//     └──link lost─────────────────────────┘ ▼                 │
//                                         freezing ─▶ frozen ─▶ thawing       every state ──gone, timed out──▶ ended
//
// A slot that is retired takes nothing new in any state. What was sent to one that starts has surely not begun: the instance
// says that it serves before it begins, on the same link. A gateway that leaves has no slot that is ready and idle: another
// may freeze the instance, so that each use begins with a thaw.
import type { FrameBatch } from '../../base/frame-batch.ts';
import type { InstanceId } from '../../base/ids.ts';
import { frameType } from '../../protocol/instance.ts';
import type { InstanceRoute } from '../../protocol/routes.ts';
import type { Invocation } from './invocation.ts';
import type { Death } from './payloads.ts';

export type SlotState = 'connecting' | 'starting' | 'ready' | 'freezing' | 'frozen' | 'thawing' | 'ended';

/** The part of an instance link that a slot needs. */
export interface SlotLink {
  sendWritten(write: (batch: FrameBatch) => void): boolean;
  /** Stops and goes on reading: back-pressure of a client that takes a stream slowly. */
  pause(): void;
  resume(): void;
  close(): void;
}

export type NewInstance = Pick<InstanceRoute, 'id' | 'generation' | 'starting' | 'frozen'>;

export class Slot {
  readonly id: InstanceId;
  readonly generation: string;
  readonly link: SlotLink;
  state: SlotState;
  /** Whether user code was loaded: until then it is sent one invocation at most. */
  serves: boolean;
  retiring = false;
  /** Sent and unanswered, in order: the instance works on the first, the others have not begun. */
  readonly inflight: Invocation[] = [];
  /** Whether {@link BusyTrace} counts it among those that work. */
  countedBusy = false;
  /** Set when it ended before it was known whether it has begun with what was sent ahead: its link's end will tell. */
  death: Death | undefined;
  /** Whether it was frozen when its link was lost or not yet there: it must be thawed then. */
  frozenBelow: boolean;
  /** Monotonic: when the instance could begin with the first. */
  headStartedAtMs = 0;
  /** Monotonic: since when nothing is in flight. */
  idleSinceMs: number;
  /** Monotonic: when the controller was last told that it idles. */
  idleReportedAtMs = Number.NEGATIVE_INFINITY;
  /** Monotonic: when it could not be frozen. */
  freezeRefusedAtMs = Number.NEGATIVE_INFINITY;
  /** What the controller was told last: a gateway before this one may have said otherwise. */
  said: 'nothing' | 'idle' | 'busy' = 'nothing';
  timer: NodeJS.Timeout | undefined;
  /** Invocations there that are not ours: of a gateway that leaves, or of one that crashed. It gets nothing of us meanwhile. */
  elsewhere = 0;
  /** The most of them since our first could begin: it may have waited for all of these. */
  elsewhereMost = 0;
  /** Ends an instance whose invocation belongs to nobody who could tell that it timed out. */
  elsewhereTimer: NodeJS.Timeout | undefined;
  /** Whether this gateway is at home with it: it freezes it, and tells the controller when it idles. */
  atHome = true;
  /** Who sends to it: this gateway; another; or another, which was asked for it (lending.ts). */
  place: 'here' | 'elsewhere' | 'asked' = 'here';
  /** Monotonic: since when it is here, or was refused. */
  placedAtMs = Number.NEGATIVE_INFINITY;
  /** Monotonic: since when another gateway is asked for it, when one is. */
  askedAtMs = Number.NEGATIVE_INFINITY;
  /** Another gateway waits for it; then it gets nothing new when `yields`, and goes there once nothing of ours is in flight. */
  wanted = false;
  yields = false;
  #lastFrameId = 0;

  constructor({ id, generation, starting, frozen }: NewInstance, link: SlotLink, nowMs: number) {
    this.id = id;
    this.generation = generation;
    this.link = link;
    this.state = 'connecting';
    this.serves = !starting;
    this.frozenBelow = frozen;
    this.idleSinceMs = nowMs;
  }

  /** Nobody reads any more of what it answers to one that it was sent. */
  abandon({ frameId }: Invocation): void {
    this.link.sendWritten((batch) => {
      batch.begin(0);
      batch.end(frameType.abandon, frameId, 0);
    });
  }

  nextFrameId(): number {
    this.#lastFrameId = (this.#lastFrameId + 1) >>> 0 || 1;
    return this.#lastFrameId;
  }
}
