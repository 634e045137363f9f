// A unit that rests, and owners that are killed at every step of waking it: whatever is killed when, its guest goes on from its
// snapshot once.
import { describe, expect, test } from 'vitest';
import { BellowsError } from '../../base/errors.ts';
import type { UnitId } from '../../base/ids.ts';
import { takeUp, type TakeUpSteps } from './take-up.ts';

type Step = Exclude<keyof TakeUpSteps<Process>, 'id' | 'rests'>;
interface Process {
  runs: boolean;
}
interface Kill {
  readonly step: Step;
  readonly when: 'before' | 'after';
}

const never = new Promise<never>(() => undefined);

/** What outlives an owner. */
class Host {
  readonly steps: Step[] = [];
  writtenAsResting = true;
  hasSnapshot = true;
  process: Process | undefined;
  /** How often the guest went on from its snapshot. */
  timesPlayed = 0;
  failing: Step | undefined;

  /** Another owner; after the step that it is killed at it does nothing any more. */
  owner(kill?: Kill): TakeUpSteps<Process> & { readonly killed: Promise<void> } {
    const killed = Promise.withResolvers<void>();
    let isDead = false;
    const die = (): Promise<never> => {
      isDead = true;
      killed.resolve();
      return never;
    };
    const step = <T>(name: Step, act: () => T): T => {
      const isLast = !isDead && kill?.step === name;
      if (isDead || (isLast && kill.when === 'before')) return die() as T;
      this.steps.push(name);
      if (this.failing === name) throw new BellowsError('StartFailed', `it can not ${name}`);
      const done = act();
      return isLast ? (die() as T) : done;
    };
    const go = (process: Process): void => {
      process.runs = true;
    };
    return {
      killed: killed.promise,
      id: 'u-1' as UnitId,
      rests: () => this.writtenAsResting,
      attach: async () =>
        step('attach', () => {
          if (this.process === undefined) throw new BellowsError('NotFound', 'it is gone');
          if (!this.process.runs) this.#play();
          go(this.process);
          return this.process;
        }),
      clear: async () => step('clear', () => void (this.process = undefined)),
      restore: async () =>
        step('restore', () => {
          if (!this.hasSnapshot) throw new Error('there is nothing to restore');
          return (this.process = { runs: false });
        }),
      undo: async () => step('undo', () => void (this.process = undefined)),
      mark: () => step('mark', () => void (this.writtenAsResting = false)),
      run: async (process) =>
        step('run', () => {
          this.#play();
          go(process);
        }),
      greet: async () => step('greet', () => undefined),
      discard: () => step('discard', () => void (this.hasSnapshot = false)),
      remove: async () =>
        step('remove', () => {
          this.process = undefined;
          this.hasSnapshot = false;
        }),
    };
  }

  async killedAt(kill: Kill): Promise<void> {
    const owner = this.owner(kill);
    void takeUp(owner).catch(() => undefined);
    await owner.killed;
  }

  #play(): void {
    this.timesPlayed += 1;
  }
}

const steps: readonly Step[] = ['clear', 'restore', 'mark', 'run', 'greet', 'discard'];
const kills = steps.flatMap((step): Kill[] => [
  { step, when: 'before' },
  { step, when: 'after' },
]);
const didRun = ({ step, when }: Kill): boolean =>
  steps.indexOf(step) > steps.indexOf('run') || (step === 'run' && when === 'after');

describe('M-C4: a unit that rests', () => {
  test('wakes in this order, and keeps nothing of its snapshot', async () => {
    const host = new Host();
    expect((await takeUp(host.owner())).runs).toBe(true);
    expect(host.steps).toEqual(steps);
    expect(host).toMatchObject({ timesPlayed: 1, hasSnapshot: false });
  });

  test.each(kills)('runs once when its owner is killed $when it could $step', async (kill) => {
    const host = new Host();
    await host.killedAt(kill);
    expect(host.timesPlayed).toBe(didRun(kill) ? 1 : 0);
    const left = host.process;
    const process = await takeUp(host.owner());
    expect(process.runs).toBe(true);
    if (didRun(kill)) expect(process).toBe(left);
    await takeUp(host.owner());
    expect(host).toMatchObject({ timesPlayed: 1, hasSnapshot: false });
  });

  test.each(kills)(
    'runs once when the next owner, too, is killed there ($when, $step), and the third is not',
    async (kill) => {
      const host = new Host();
      await host.killedAt(kill);
      const reached = host.writtenAsResting ? kill : ({ step: 'attach', when: kill.when } as const);
      await host.killedAt(reached);
      await takeUp(host.owner());
      expect(host.timesPlayed).toBe(1);
    },
  );

  test.each(kills.filter(didRun))(
    'is gone with its snapshot when it ran and its process ended while it had no owner ($when, $step)',
    async (kill) => {
      const host = new Host();
      await host.killedAt(kill);
      host.process = undefined;
      await expect(takeUp(host.owner())).rejects.toThrow(expect.objectContaining({ code: 'NotFound' }));
      expect(host).toMatchObject({ timesPlayed: 1, hasSnapshot: false });
    },
  );

  test.each(['restore', 'mark'] as const)(
    'rests on when it can not %s, and can be tried again',
    async (failing) => {
      const host = new Host();
      host.failing = failing;
      await expect(takeUp(host.owner())).rejects.toThrow(expect.objectContaining({ code: 'StartFailed' }));
      expect(host).toMatchObject({ process: undefined, writtenAsResting: true, hasSnapshot: true });
      host.failing = undefined;
      await takeUp(host.owner());
      expect(host.timesPlayed).toBe(1);
    },
  );

  test.each(['run', 'greet'] as const)(
    'is lost when it can not %s: whether it had done something by then is not known',
    async (failing) => {
      const host = new Host();
      host.failing = failing;
      await expect(takeUp(host.owner())).rejects.toThrow(expect.objectContaining({ code: 'UnitLost' }));
      expect(host).toMatchObject({ process: undefined, hasSnapshot: false });
    },
  );
});
