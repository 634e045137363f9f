// The part of a resize that no resource group enforces: how much an instance may store, which its scratch space holds it to,
// and its bandwidth, which the gateway does: here that is on record, and told.
//
//   begin ──fits, or grows──▶ applied
//     └──holds more──▶ deferred ──has deleted enough──▶ applied, told through onApplied
import type { Clock } from '../../base/clock.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { ResourceChange } from '../../model/change.ts';
import type { Resources } from '../../model/resources.ts';
import type { Logger } from '../../sys/log.ts';
import type { InstanceControl } from './control.ts';
import { Deferrals, type Deferral } from './deferrals.ts';
import { changeOf, type Part } from './outcome.ts';

export interface SpacesOptions {
  readonly control: InstanceControl;
  readonly clock: Clock;
  readonly log: Logger;
  /** A change that was deferred has been applied. */
  readonly onApplied: (id: InstanceId, change: ResourceChange) => void;
}

/** One instance's part of a request. */
export interface Space {
  readonly id: InstanceId;
  readonly wanted: Resources;
  readonly before: Pick<Resources, 'storage' | 'bandwidth'>;
  storage: Part;
  readonly entry: Deferral | undefined;
}

const notLimited = 'recorded, but nothing on this machine limits what an instance stores; see bellows doctor';

export class Spaces {
  readonly #options: SpacesOptions;
  readonly #deferrals: Deferrals;

  constructor(options: SpacesOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#deferrals = new Deferrals({ clock, log, retry: async (entry) => this.#retry(entry) });
  }

  /** What holds of an instance now, as far as this file is about it. */
  present(id: InstanceId, grant: Resources): Space['before'] {
    const { control } = this.#options;
    const storage = (control.storageBytes(id) ?? grant.storage) as Resources['storage'];
    return { storage, bandwidth: grant.bandwidth };
  }

  differs(id: InstanceId, grant: Resources, wanted: Resources): boolean {
    const { storage, bandwidth } = this.present(id, grant);
    return storage !== wanted.storage || bandwidth !== wanted.bandwidth;
  }

  /** Tries once; what does not fit is tried again until it does, or another size is asked for. */
  begin(id: InstanceId, grant: Resources, wanted: Resources): Space {
    const { control, clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const before = this.present(id, grant);
    this.#deferrals.drop(id);
    const outcome = control.resizeStorage(id, wanted.storage);
    const durationMs = clock.monotonicMs() - startedMs;
    if (outcome.is === 'applied') {
      const reason = control.storageBytes(id) === null ? notLimited : '';
      return { id, wanted, before, storage: { status: 'applied', reason, durationMs }, entry: undefined };
    }
    const { is: status, reason } = outcome;
    const entry =
      status === 'deferred' ? this.#deferrals.put(id, wanted.storage, reason, { resting: false }) : undefined;
    return { id, wanted, before, storage: { status, reason, durationMs }, entry };
  }

  /** Returns when all are applied, or after `waitMs`. */
  async wait(spaces: readonly Space[], waitMs: number): Promise<void> {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    const waiting = spaces.flatMap(({ entry }) => entry ?? []);
    await this.#deferrals.wait(waiting, waitMs);
    for (const space of spaces) {
      if (space.entry === undefined) continue;
      const durationMs = space.storage.durationMs + clock.monotonicMs() - startedMs;
      space.storage = { ...this.#partOf(space, space.entry), durationMs };
    }
  }

  changes({ id, wanted, before, storage }: Space): ResourceChange[] {
    const now = this.#options.control.storageBytes(id) ?? wanted.storage;
    const stored = { before: before.storage, after: now, wanted: wanted.storage };
    const carried = { before: before.bandwidth, after: wanted.bandwidth, wanted: wanted.bandwidth };
    return [
      ...(before.storage === wanted.storage ? [] : [changeOf('storage', stored, storage)]),
      ...(before.bandwidth === wanted.bandwidth
        ? []
        : [changeOf('bandwidth', carried, { status: 'applied', reason: '', durationMs: 0 })]),
    ];
  }

  forget(id: InstanceId): void {
    this.#deferrals.drop(id);
  }

  close(): void {
    this.#deferrals.close();
  }

  #partOf({ id, wanted }: Space, entry: Deferral): Omit<Part, 'durationMs'> {
    if (this.#deferrals.get(id) === entry) return { status: 'deferred', reason: entry.reason };
    const present = this.#options.control.storageBytes(id);
    if (present === wanted.storage) return { status: 'applied', reason: '' };
    return { status: 'deferred', reason: 'a later request has taken its place' };
  }

  #retry(entry: Deferral): boolean {
    const { control, onApplied } = this.#options;
    const id = entry.key as InstanceId;
    if (control.describe(id) === undefined) {
      this.#deferrals.drop(id);
      return false;
    }
    const before = control.storageBytes(id);
    const outcome = control.resizeStorage(id, entry.wantedBytes);
    if (outcome.is !== 'applied') {
      entry.reason = outcome.reason;
      return false;
    }
    const amounts = { before, after: control.storageBytes(id), wanted: entry.wantedBytes };
    onApplied(id, changeOf('storage', amounts, { status: 'applied', reason: '', durationMs: 0 }));
    return true;
  }
}
