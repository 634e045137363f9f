// The ladder that is climbed to make memory claimable: which rung is next, and when to stop. Pure but for the rungs, which
// are handed in. From what costs nobody anything to what costs some time:
//
//   heaps (of idle instances, the fullest first) ─▶ cache (clean, mapped by nobody) ─▶ storage (trimmed) ─▶ compact
import type { TrimStep } from '../../protocol/guest.ts';

export interface Rung {
  readonly step: TrimStep['step'];
  /** Does it; what it brings is measured. */
  readonly climb: () => Promise<void>;
}

export interface LadderOptions {
  readonly wantedBytes: number;
  /** In order. */
  readonly rungs: readonly Rung[];
  readonly claimable: () => Promise<number>;
  readonly nowMs: () => number;
}

export interface Climbed {
  readonly claimableBytes: number;
  readonly steps: TrimStep[];
}

/** Climbs rung by rung until there is enough. A rung that fails has brought nothing, and the next is tried. */
export async function climb(options: LadderOptions): Promise<Climbed> {
  const { wantedBytes, rungs, claimable, nowMs } = options;
  const steps: TrimStep[] = [];
  let haveBytes = await claimable();
  for (const rung of rungs) {
    if (haveBytes >= wantedBytes) break;
    const startedMs = nowMs();
    await rung.climb().catch(() => undefined);
    const nowBytes = await claimable();
    steps.push({
      step: rung.step,
      freedBytes: Math.max(0, nowBytes - haveBytes),
      durationMs: nowMs() - startedMs,
    });
    haveBytes = nowBytes;
  }
  return { claimableBytes: Math.min(haveBytes, wantedBytes), steps: merged(steps) };
}

/** One step of each kind: heaps are many rungs. */
function merged(steps: readonly TrimStep[]): TrimStep[] {
  const byKind = new Map<TrimStep['step'], TrimStep>();
  for (const { step, freedBytes, durationMs } of steps) {
    const sum = byKind.get(step);
    byKind.set(step, {
      step,
      freedBytes: freedBytes + (sum?.freedBytes ?? 0),
      durationMs: durationMs + (sum?.durationMs ?? 0),
    });
  }
  return [...byKind.values()];
}
