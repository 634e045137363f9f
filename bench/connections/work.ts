// What Bellows' own processes take of the processors without changes and with them, by the kernel's account: unlike times, that is
// shifted little by whoever else is busy. Owns the sums. A process that another has taken the place of counts no further.
import type { Bellows } from '../../tests/support/bellows.ts';
import type { Figure } from '../figure.ts';
import { processorMicros } from '../processor-time.ts';

const roles = ['controller', 'agent', 'gateway'] as const;
type Role = (typeof roles)[number];
type Side = 'quiet' | 'changing';

interface Taken {
  readonly pid: number;
  readonly micros: number;
}

export class Work {
  readonly #bellows: Bellows;
  readonly #sums: Readonly<Record<Side, { ms: number; readonly micros: Record<Role, number> }>> = {
    quiet: { ms: 0, micros: { controller: 0, agent: 0, gateway: 0 } },
    changing: { ms: 0, micros: { controller: 0, agent: 0, gateway: 0 } },
  };

  constructor(bellows: Bellows) {
    this.#bellows = bellows;
  }

  async during(side: Side, run: () => Promise<unknown>): Promise<void> {
    const before = this.#taken();
    const begunMs = performance.now();
    await run();
    const sum = this.#sums[side];
    sum.ms += performance.now() - begunMs;
    for (const [role, { pid, micros }] of this.#taken()) {
      const earlier = before.get(role);
      // One that came meanwhile has done all of it in this time.
      sum.micros[role] += micros - (earlier?.pid === pid ? earlier.micros : 0);
    }
  }

  figures(): Figure[] {
    return (['quiet', 'changing'] as const).map((side) => {
      const { ms, micros } = this.#sums[side];
      const perSecond = roles.map((role) => (micros[role] / ms).toFixed(1));
      return {
        name: `${side}: ms of processor time a second, ${roles.join(', ')}`,
        value: perSecond.join(', '),
      };
    });
  }

  #taken(): Map<Role, Taken> {
    const taken = new Map<Role, Taken>();
    for (const role of roles) {
      const pid = this.#bellows.pidOf(role);
      if (pid !== undefined) taken.set(role, { pid, micros: processorMicros(pid) });
    }
    return taken;
  }
}
