// Where workloads' instances run: on this machine, or in virtual machines. Owns the rule; whoever has the choice made it at
// `bellows up`, and a workload's own wish is stored with it.
import { BellowsError } from '../base/errors.ts';
import type { UnitKind } from '../model/unit-kind.ts';
import type { Workload } from '../model/workload.ts';

export class Places {
  /** The first is where those run that do not say. */
  readonly #kinds: readonly [UnitKind, ...UnitKind[]];

  constructor(kinds: readonly [UnitKind, ...UnitKind[]]) {
    this.#kinds = kinds;
  }

  has(kind: UnitKind): boolean {
    return this.#kinds.includes(kind);
  }

  of({ unit }: Pick<Workload, 'unit'>): UnitKind {
    return unit ?? this.#kinds[0];
  }

  /** Nothing runs elsewhere than it was to: in a machine may have been asked for to keep it apart. @throws BellowsError NotSupportedHere */
  require(kind: UnitKind): void {
    if (this.has(kind)) return;
    throw new BellowsError(
      'NotSupportedHere',
      kind === 'vm'
        ? 'There are no virtual machines here: this Bellows runs instances on this machine alone.'
        : 'No instances run on this machine itself here: this Bellows runs them in virtual machines alone.',
      'Start Bellows with both: bellows up --unit both.',
    );
  }
}
