// Which part has an instance: this machine's agent, or the fleet of virtual machines. Owns that memory. It is filled by what
// is started, listed and told; who is not known is looked for, since whoever asks may have known it before we began.
import type { InstanceId } from '../../base/ids.ts';
import type { UnitKind } from '../../model/unit-kind.ts';

export class Owners {
  readonly #kinds = new Map<InstanceId, UnitKind>();
  readonly #list: (kind: UnitKind) => Promise<readonly InstanceId[]>;

  /** @param list what a part has now */
  constructor(list: (kind: UnitKind) => Promise<readonly InstanceId[]>) {
    this.#list = list;
  }

  note(id: InstanceId, kind: UnitKind): void {
    this.#kinds.set(id, kind);
  }

  forget(id: InstanceId): void {
    this.#kinds.delete(id);
  }

  /** Undefined when neither has it. @throws BellowsError Unavailable while one can not be asked */
  async of(id: InstanceId): Promise<UnitKind | undefined> {
    const known = this.#kinds.get(id);
    if (known !== undefined) return known;
    const [host, machines] = await Promise.all([this.#list('host'), this.#list('vm')]);
    for (const each of host) this.note(each, 'host');
    for (const each of machines) this.note(each, 'vm');
    return this.#kinds.get(id);
  }
}
