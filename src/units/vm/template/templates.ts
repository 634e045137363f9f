// The templates of one owner: finds or makes the one for a size, once for all who ask, and holds its memory while it may be
// cloned. Owns that; files are store.ts, making is build.ts.
import { closeSync } from 'node:fs';
import { BellowsError } from '../../../base/errors.ts';
import type { Resources } from '../../../model/resources.ts';
import { takeApart } from '../construct.ts';
import type { UnitCore } from '../core.ts';
import { cpusFor, madeWith, type VmHost } from '../host.ts';
import type { UnitRecord } from '../record.ts';
import { buildTemplate, type TemplateInUse } from './build.ts';
import { loadTemplateMemory, memoryOfClones } from './memory.ts';
import { templateKey, templateTraits } from './store.ts';

export class Templates {
  readonly #host: VmHost;
  readonly #inUse = new Map<string, Promise<TemplateInUse>>();
  readonly #newRecord: (key: string, size: Resources) => UnitRecord;
  readonly #forget: (record: UnitRecord) => void;
  readonly #clonePids: () => number[];

  /** @param owner gives a unit that becomes the template its number and its record, and takes them back. */
  constructor(
    host: VmHost,
    owner: {
      readonly newRecord: (key: string, size: Resources) => UnitRecord;
      readonly forget: (record: UnitRecord) => void;
      /** Of QEMUs that may hold a template's memory. */
      readonly clonePids: () => number[];
    },
  ) {
    this.#host = host;
    this.#newRecord = owner.newRecord;
    this.#forget = owner.forget;
    this.#clonePids = owner.clonePids;
  }

  keyFor(size: Resources): string {
    const { options, network, scratchKind } = this.#host;
    return templateKey(
      templateTraits(
        size,
        {
          ...madeWith(this.#host),
          network: network === null ? 'user' : 'tap',
          scratch: scratchKind,
          cpus: cpusFor(this.#host, size),
        },
        options.image.overheadBytes,
      ),
    );
  }

  /** @throws BellowsError NoRoom, StartFailed, Unavailable, NotSupportedHere where clones can not be. */
  get(size: Resources): Promise<TemplateInUse> {
    const key = this.keyFor(size);
    const known = this.#inUse.get(key);
    if (known !== undefined) return known;
    const making = this.#find(key, size);
    this.#inUse.set(key, making);
    // The next who asks tries again.
    making.catch(() => this.#inUse.delete(key));
    return making;
  }

  /** Of a clone that there is. @throws BellowsError StartFailed when it is gone, Conflict when it is damaged */
  ofKey(key: string): Promise<TemplateInUse> {
    const known = this.#inUse.get(key);
    if (known !== undefined) return known;
    const finding = this.#stored(key).then((found) => {
      if (found !== undefined) return found;
      throw new BellowsError(
        'StartFailed',
        `The template ${key} is gone, and with it what its clones share.`,
      );
    });
    this.#inUse.set(key, finding);
    finding.catch(() => this.#inUse.delete(key));
    return finding;
  }

  /** Lets the memory go: clones that run keep theirs. */
  async close(): Promise<void> {
    const all = [...this.#inUse.values()];
    this.#inUse.clear();
    for (const making of all) {
      const template = await making.catch(() => undefined);
      if (template !== undefined) closeSync(template.memoryFd);
    }
  }

  async #stored(key: string): Promise<TemplateInUse | undefined> {
    const stored = this.#host.templates.find(key);
    if (stored === undefined) return undefined;
    const shared = memoryOfClones(key, this.#clonePids());
    const memoryFd = shared ?? (await loadTemplateMemory(key, stored.memoryFile, stored.memory));
    return { stored, memoryFd };
  }

  async #find(key: string, size: Resources): Promise<TemplateInUse> {
    try {
      const found = await this.#stored(key);
      if (found !== undefined) return found;
    } catch (thrown) {
      // Damaged: made anew. Anything else, such as no memory, is the caller's to know.
      if (!(thrown instanceof BellowsError) || thrown.code !== 'Conflict') throw thrown;
      this.#host.options.onDefect(thrown, 'a template is made anew');
      this.#host.templates.remove(key);
    }
    const record = this.#newRecord(key, size);
    let core: UnitCore | undefined;
    try {
      return await buildTemplate(this.#host, key, record, (begun) => (core = begun));
    } finally {
      core?.detach();
      await takeApart(
        this.#host,
        core?.record ?? this.#host.records.read(record.id) ?? record,
        core?.machine ?? null,
      );
      this.#forget(record);
    }
  }
}
