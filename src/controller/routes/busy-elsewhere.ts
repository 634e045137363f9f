// What instances work for, over all gateways: each tells of the calls that it sent. Owns the last report of each. What the
// sums mean is for those who are told of traffic.
import type { Clock } from '../../base/clock.ts';
import type { WorkloadKey } from '../../base/ids.ts';
import type { Traffic } from './traffic.ts';

/** A report comes every second while there is anything to tell; who says nothing for longer has nothing. */
const freshMs = 2_000;

interface Report {
  readonly atMs: number;
  readonly busy: ReadonlyMap<WorkloadKey, number>;
}

export class BusyElsewhere<Gateway> {
  readonly #clock: Clock;
  readonly #reports = new Map<Gateway, Report>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The same report, with the instances counted that work for other gateways. */
  withOthers(gateway: Gateway, traffic: Traffic): Traffic {
    const atMs = this.#clock.monotonicMs();
    const busy = new Map(
      traffic.flatMap(({ workload, busyInstances }) =>
        busyInstances > 0 ? [[workload, busyInstances] as const] : [],
      ),
    );
    this.#reports.set(gateway, { atMs, busy });
    const others = [...this.#reports].filter(
      ([other, report]) => other !== gateway && atMs - report.atMs <= freshMs,
    );
    if (others.length === 0) return traffic;
    return traffic.map((line) => {
      const elsewhere = others.reduce((sum, [, report]) => sum + (report.busy.get(line.workload) ?? 0), 0);
      if (elsewhere === 0) return line;
      const calls =
        line.calls === undefined ? undefined : { ...line.calls, most: line.calls.most + elsewhere };
      return { ...line, busyInstances: line.busyInstances + elsewhere, calls };
    });
  }

  gone(gateway: Gateway): void {
    this.#reports.delete(gateway);
  }
}
