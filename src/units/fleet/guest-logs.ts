// Brings what instances print in virtual machines into the host's log, so that it outlives them. Owns how far each guest's
// log was read. A page counts only if nothing was read since it was asked for: so no line comes twice, however many ask.
import { setTimeout as pause } from 'node:timers/promises';
import type { LogStore } from '../../agent/logs/log-store.ts';
import { within } from '../../agent/resize/within.ts';
import type { InstanceId, WorkloadKey } from '../../base/ids.ts';
import type { Logger } from '../../sys/log.ts';
import type { UnitRecords } from './records.ts';
import type { FleetUnit } from './unit.ts';

const pageLines = 1_000;
/** The guest answers at once when there is a line; this is how often it says that there is none. */
const waitMs = 20_000;
const retryMs = 1_000;
/** Reads a log from its beginning: the guest's positions count bytes from there. */
const beginning = '0';

export class GuestLogs {
  readonly #store: LogStore;
  readonly #records: UnitRecords;
  readonly #log: Logger;
  readonly #cursors = new WeakMap<FleetUnit, Map<WorkloadKey, string>>();

  constructor(store: LogStore, records: UnitRecords, log: Logger) {
    this.#store = store;
    this.#records = records;
    this.#log = log;
  }

  /** Reads on and on until the unit goes. Calling it again for the same does nothing. */
  follow(unit: FleetUnit, workload: WorkloadKey): void {
    const cursors = this.#of(unit);
    if (cursors.has(workload)) return;
    const record = this.#records.read(unit.id);
    const known = record === undefined || record === 'unreadable' ? undefined : record.logCursors[workload];
    cursors.set(workload, known ?? beginning);
    void this.#follow(unit, workload);
  }

  /** What is there by now, no longer than `withinMs`: the unit is about to go. */
  async drain(unit: FleetUnit, workload: WorkloadKey, withinMs: number): Promise<void> {
    if (!this.#of(unit).has(workload) || unit.away !== null) return;
    const reading = this.#drain(unit, workload, withinMs).catch((thrown: unknown) =>
      this.#log.info(
        { err: thrown, unit: unit.id, workload },
        'the last lines of a unit’s log were not read',
      ),
    );
    await within(withinMs, reading);
  }

  async #drain(unit: FleetUnit, workload: WorkloadKey, timeoutMs: number): Promise<void> {
    while ((await this.#page(unit, workload, 0, timeoutMs)) > 0);
  }

  async #follow(unit: FleetUnit, workload: WorkloadKey): Promise<void> {
    while (!unit.stopping) {
      // Nothing is written while it rests or moves, and to ask would wake it.
      if (unit.away !== null) {
        await pause(retryMs, undefined, { ref: false });
        continue;
      }
      try {
        await this.#page(unit, workload, waitMs, waitMs * 2);
      } catch (thrown) {
        if (unit.stopping) return;
        this.#log.debug({ err: thrown, unit: unit.id, workload }, 'a unit’s log could not be read');
        await pause(retryMs, undefined, { ref: false });
      }
    }
  }

  /** Answers how many lines came. */
  async #page(
    unit: FleetUnit,
    workload: WorkloadKey,
    patienceMs: number,
    timeoutMs: number,
  ): Promise<number> {
    const cursors = this.#of(unit);
    const asked = cursors.get(workload) ?? beginning;
    const page = await unit.guest.call(
      'readLogs',
      { workload, cursor: asked, limit: pageLines, waitMs: patienceMs },
      { timeoutMs },
    );
    if (cursors.get(workload) !== asked) return page.entries.length;
    // The host's time, when it came: a guest's clock is the guest's word.
    for (const { instance, lines } of runs(page.entries))
      this.#store.sinkOf(workload, instance as InstanceId)(lines);
    cursors.set(workload, page.cursor);
    if (page.entries.length > 0 && !unit.stopping)
      this.#records.update(unit.id, { logCursors: Object.fromEntries(cursors) });
    return page.entries.length;
  }

  #of(unit: FleetUnit): Map<WorkloadKey, string> {
    const known = this.#cursors.get(unit) ?? new Map<WorkloadKey, string>();
    this.#cursors.set(unit, known);
    return known;
  }
}

/** Lines of one instance that follow each other are written at once. */
function runs(
  entries: readonly { readonly instance: string; readonly line: string }[],
): { instance: string; lines: string[] }[] {
  const found: { instance: string; lines: string[] }[] = [];
  for (const { instance, line } of entries) {
    const last = found.at(-1);
    if (last?.instance === instance) last.lines.push(line);
    else found.push({ instance, lines: [line] });
  }
  return found;
}
