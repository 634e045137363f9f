// What runs: every instance that the agent has, or has been asked for. Owns their lives as the controller sees them.
// Does not own why one is started or stopped (../reconcile); the agent's word on an instance is copied, not judged.
//
//   waiting ─room─▶ starting ─usable─▶ serving ─not wanted─▶ retiring ─nothing in flight─▶ stopping ─▶ (forgotten)
//      │               │                 │                      │                            ▲
//      └───────────────┴─────────────────┴──────────────────────┴─ exited, lost, failed ─────┴──▶ (forgotten)
//   Every phase but `waiting`, of which the agent knows nothing, may also go to `stopping` at once.
import { hostUnitId, type InstanceId, type TenantId, type WorkloadKey } from '../../base/ids.ts';
import type { InstanceInfo } from '../../model/instance.ts';
import type { UnitKind } from '../../model/unit-kind.ts';
import type { Resources } from '../../model/resources.ts';
import type { Endpoint, InstanceSpec } from '../../protocol/agent.ts';

interface Known {
  /** The agent's last word. */
  readonly info: InstanceInfo;
  readonly endpoint: Endpoint;
}

export type Life =
  /** Wanted, and counted as such, but there is no room for it yet. */
  | { readonly phase: 'waiting'; readonly known: null }
  | {
      readonly phase: 'starting';
      /** There once the agent lists it, though it is not usable yet. */
      readonly known: Known | null;
      /** Whether our call to start it ended without an answer: the agent's list decides whether it lives. */
      readonly unanswered: boolean;
      /**
       * Once it listens, and takes what it is to begin with; null before, and where nothing is sent ahead. It may have answered
       * that before the agent has said that it serves, and whoever was answered finds it.
       */
      readonly reachable: Known | null;
    }
  | { readonly phase: 'serving'; readonly known: Known }
  | { readonly phase: 'retiring'; readonly known: Known; readonly why: string }
  | { readonly phase: 'stopping'; readonly known: Known | null; readonly why: string };

export interface Tracked {
  readonly spec: InstanceSpec;
  readonly life: Life;
  /** Whether a gateway, or nobody, has said since that it is in use. */
  readonly idle: boolean;
  /** When it last served, or began to, as far as is known: for scaling in, least recently used first. */
  readonly lastUsedMs: number;
  /** When it became usable; null before. */
  readonly servingSinceMs: number | null;
}

export type Change =
  | { readonly type: 'changed'; readonly tracked: Tracked; readonly before: Tracked | undefined }
  | { readonly type: 'gone'; readonly tracked: Tracked; readonly why: string; readonly oomKilled: boolean };

export class ActualState {
  readonly #instances = new Map<InstanceId, Tracked>();
  readonly #listeners = new Set<(change: Change) => void>();

  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get(id: InstanceId): Tracked | undefined {
    return this.#instances.get(id);
  }

  all(): Tracked[] {
    return [...this.#instances.values()];
  }

  ofWorkload(key: WorkloadKey): Tracked[] {
    return this.all().filter((tracked) => tracked.spec.workload === key);
  }

  ofTenant(tenant: TenantId): Tracked[] {
    return this.all().filter((tracked) => tracked.spec.tenant === tenant);
  }

  set(tracked: Tracked): void {
    const before = this.#instances.get(tracked.spec.id);
    this.#instances.set(tracked.spec.id, tracked);
    this.#tell({ type: 'changed', tracked, before });
  }

  /** Forgets an instance that is gone; nothing happens when it was forgotten before. */
  remove(id: InstanceId, why: string, oomKilled = false): void {
    const tracked = this.#instances.get(id);
    if (tracked === undefined) return;
    this.#instances.delete(id);
    this.#tell({ type: 'gone', tracked, why, oomKilled });
  }

  /** Resolves with the next change of any instance, or after `timeoutMs`. */
  nextChange(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(), timeoutMs);
      const done = (): void => {
        clearTimeout(timer);
        end();
        resolve();
      };
      const end = this.onChange(done);
    });
  }

  /** Resolves when the instance has been forgotten; at once when it is not known. */
  untilGone(id: InstanceId): Promise<void> {
    if (!this.#instances.has(id)) return Promise.resolve();
    return new Promise((resolve) => {
      const end = this.onChange((change) => {
        if (change.type !== 'gone' || change.tracked.spec.id !== id) return;
        end();
        resolve();
      });
    });
  }

  #tell(change: Change): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** The agent's last word on it, also before it serves. */
export function seenOf({ life }: Tracked): InstanceInfo | undefined {
  return (life.known ?? (life.phase === 'starting' ? life.reachable : null))?.info;
}

export function knownOf(tracked: Tracked): Known | null {
  return tracked.life.known;
}

/** What one that has a process runs in. */
export function unitKindOf(tracked: Tracked): UnitKind {
  const unit = seenOf(tracked)?.unit;
  return unit === undefined || unit === hostUnitId ? 'host' : 'vm';
}

/** What it may come to use: what the kernel enforces or what is on its way there, whichever is more. */
export function promisedMemory(tracked: Tracked): number {
  if (tracked.life.phase === 'waiting') return 0;
  const known = knownOf(tracked);
  // What it is to have when it wakes is others' until then.
  if (known?.info.state === 'hibernated') return 0;
  return known === null
    ? tracked.spec.grant.memory
    : Math.max(known.info.grant.memory, known.info.desired.memory);
}

/** What it is to have. */
export function desiredGrant(tracked: Tracked): Resources {
  return knownOf(tracked)?.info.desired ?? tracked.spec.grant;
}

/** Whether user code can serve: the agent says `bound` until then. */
export function isUsable(info: InstanceInfo): boolean {
  return info.state === 'idle' || info.state === 'busy' || standsStill(info);
}

/** It runs nothing until it is thawed, or its machine is awake. */
export function standsStill({ state }: InstanceInfo): boolean {
  return state === 'frozen' || state === 'hibernated';
}

/** Whether it serves or is to: what is being ended is not wanted any more. */
export function isLive(tracked: Tracked): boolean {
  const { phase } = tracked.life;
  return phase === 'waiting' || phase === 'starting' || phase === 'serving';
}
