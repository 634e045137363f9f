// Grants that are lent: the kernel's limit is lower than what the application was promised, and rises by itself when that is
// needed. As long as it is lent, out-of-memory is held, so that nobody is killed for what others have.
//
//   lower ──fits──▶ lent ──strained, or about to run again──▶ given back: limit as promised, hold ends, onGivenBack
//                   │  ▲
//   runs for a trim ▼  │ stands still again, and it fits
//                 suspended: limit as promised
//   drop, forget (another resize was applied, or it is gone) ──▶ none
//
// Owns loans of instances and the writes of their limits. What is lent, and telling of it, is resizer.ts's.
import { messageOf } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { Logger } from '../../sys/log.ts';
import type { Cgroup, GroupPath } from '../cgroup/port.ts';
import { LentWatch } from './lent-watch.ts';
import { judgeLoan } from './loan.ts';
import type { MemoryHolds } from './memory-holds.ts';

export type WhyGivenBack = 'thaw' | 'strain';

/** Why a loan that was being made is none. */
export const neededMeanwhile = 'it needed what was to be lent';

export interface LendingOptions {
  readonly cgroup: Cgroup;
  readonly log: Logger;
  readonly holds: MemoryHolds;
  /** Whoever looks after its limit for having been lowered need not do so any more. */
  readonly takeOver: (id: InstanceId) => void;
  /** Its limit is as promised again; nobody has been told. */
  readonly onGivenBack: (id: InstanceId, why: WhyGivenBack) => void;
}

interface Loan {
  readonly group: GroupPath;
  promisedBytes: number;
  limitBytes: number;
  suspended: boolean;
  /** The last write of a lower limit; a higher one must not overtake it. */
  lowering: Promise<unknown>;
}

export class Lending {
  readonly #options: LendingOptions;
  readonly #watch: LentWatch;
  readonly #loans = new Map<InstanceId, Loan>();
  readonly #givingBack = new Map<InstanceId, Promise<void>>();

  constructor(options: LendingOptions) {
    this.#options = options;
    const { cgroup, log } = options;
    this.#watch = new LentWatch({ cgroup, log, onStrained: (id) => void this.#giveBack(id, 'strain') });
  }

  /** What the application was promised; null when nothing of it is lent. */
  promisedBytes(id: InstanceId): number | null {
    return this.#loans.get(id)?.promisedBytes ?? null;
  }

  /** Lowers the limit to what is lent. Answers what stands in the way, or nothing when it is applied. */
  async lower(id: InstanceId, group: GroupPath, wantedBytes: number, promisedBytes: number): Promise<string> {
    const { cgroup } = this.#options;
    if (this.#givingBack.has(id)) await this.#givingBack.get(id);
    const judge = () => judgeLoan(cgroup.usage(group), wantedBytes, cgroup.isFrozen(group));
    let verdict = judge();
    if (verdict.safe && verdict.cacheInTheWay) {
      await cgroup.dropCache(group);
      verdict = judge();
    }
    if (!verdict.safe) return verdict.reason;
    const earlier = this.#loans.get(id);
    if (earlier?.suspended === true) return 'it runs for a collection of its garbage';
    this.#hold(id, group);
    // Known before it is written: whoever runs again meanwhile waits for the write, and has it back.
    const loan: Loan = {
      group,
      promisedBytes,
      limitBytes: wantedBytes,
      suspended: false,
      lowering: Promise.resolve(),
    };
    this.#loans.set(id, loan);
    const applied = await this.#write(loan, wantedBytes);
    await this.#givingBack.get(id);
    if (this.#loans.get(id) !== loan) return neededMeanwhile;
    if (!applied) {
      if (earlier === undefined) this.drop(id);
      else this.#loans.set(id, earlier);
      return `the kernel could not bring its use below ${humanBytes(wantedBytes)}`;
    }
    this.#watch.begin(id, group, wantedBytes);
    return '';
  }

  /** The limit stands at `limitBytes` already, below what is promised. */
  keep(id: InstanceId, group: GroupPath, limitBytes: number, promisedBytes: number): void {
    const loan = this.#loans.get(id);
    if (loan?.suspended === true || this.#givingBack.has(id)) return;
    if (loan?.limitBytes === limitBytes) {
      loan.promisedBytes = promisedBytes;
      return;
    }
    this.#hold(id, group);
    const kept = { group, promisedBytes, limitBytes, suspended: false, lowering: Promise.resolve() };
    this.#loans.set(id, kept);
    this.#watch.begin(id, group, limitBytes);
  }

  /** What is enforced is what was promised: nothing is lent any more. */
  drop(id: InstanceId): void {
    const loan = this.#loans.get(id);
    if (loan === undefined || this.#givingBack.has(id)) return;
    this.forget(id);
  }

  /** The instance is gone. */
  forget(id: InstanceId): void {
    const loan = this.#loans.get(id);
    this.#watch.end(id);
    this.#loans.delete(id);
    if (loan !== undefined) this.#options.holds.release(loan.group, 'loan');
  }

  /**
   * Before an instance that stands still runs, or goes on running: `thaw` for what it is there for, and it has what it was
   * promised when this resolves; `trim` for a moment, to free. Never fails: whoever runs is held, not killed.
   */
  async beforeRun(id: InstanceId, why: 'thaw' | 'trim'): Promise<void> {
    const loan = this.#loans.get(id);
    if (loan === undefined) return;
    if (why === 'thaw') return this.#giveBack(id, 'thaw');
    if (loan.suspended) return;
    loan.suspended = true;
    await loan.lowering;
    await this.#raise(id, loan);
    // Nobody looks after it now, and with what was promised nobody needs to.
    if (this.#loans.get(id) === loan) this.#options.holds.release(loan.group, 'loan');
  }

  /** It stands still again: what was lent before it ran for a trim is lent again, where it fits. */
  async stoodStill(id: InstanceId): Promise<void> {
    const loan = this.#loans.get(id);
    if (loan?.suspended !== true) return;
    const { cgroup, holds } = this.#options;
    holds.hold(loan.group, 'loan');
    const { safe } = judgeLoan(cgroup.usage(loan.group), loan.limitBytes, true);
    if (!safe || !(await this.#write(loan, loan.limitBytes))) return this.#giveBack(id, 'strain');
    loan.suspended = false;
  }

  /** A hold that nobody watches would let a process wait for ever: everybody has what was promised. */
  close(): void {
    this.#watch.close();
    for (const [id, loan] of this.#loans) void this.#raise(id, loan).then(() => this.drop(id));
  }

  #giveBack(id: InstanceId, why: WhyGivenBack): Promise<void> {
    const known = this.#givingBack.get(id);
    if (known !== undefined) return known;
    const loan = this.#loans.get(id);
    if (loan === undefined) return Promise.resolve();
    const giving = this.#giveBackOnce(id, loan, why)
      .catch((error: unknown) => this.#failed(id, error))
      .finally(() => this.#givingBack.delete(id));
    this.#givingBack.set(id, giving);
    return giving;
  }

  /** The limit rises before the hold ends: the other way round the kernel would kill who waits. */
  async #giveBackOnce(id: InstanceId, loan: Loan, why: WhyGivenBack): Promise<void> {
    const { holds, onGivenBack } = this.#options;
    this.#watch.end(id);
    await loan.lowering;
    await this.#raise(id, loan);
    if (this.#loans.get(id) !== loan) return;
    this.#loans.delete(id);
    holds.release(loan.group, 'loan');
    onGivenBack(id, why);
  }

  async #raise(id: InstanceId, { group, promisedBytes }: Loan): Promise<void> {
    try {
      await this.#options.cgroup.setLimits(group, { memoryBytes: promisedBytes });
    } catch (error) {
      this.#failed(id, error);
    }
  }

  #failed(id: InstanceId, error: unknown): void {
    this.#options.log.error(
      { instance: id, error: messageOf(error) },
      'what was lent could not be given back',
    );
  }

  /** True when the kernel took it. */
  async #write(loan: Loan, memoryBytes: number): Promise<boolean> {
    const writing = this.#options.cgroup.setLimits(loan.group, { memoryBytes }).catch(() => 'busy' as const);
    loan.lowering = writing;
    return (await writing) === 'applied';
  }

  /** In this order: the other hold ends only when this one has begun. */
  #hold(id: InstanceId, group: GroupPath): void {
    this.#options.holds.hold(group, 'loan');
    this.#options.takeOver(id);
  }
}
