// What a unit and the host can give to instances that are to grow. Pure.
import type { InstanceId } from '../../base/ids.ts';
import { humanBytes } from '../../base/quantity.ts';
import type { ResourceKind, Resources } from '../../model/resources.ts';

export interface Asked {
  readonly id: InstanceId;
  readonly present: Resources;
  readonly wanted: Resources;
}

export interface Admitted extends Asked {
  /** What it may be given now: `wanted`, but for the resources that are refused or have to wait. */
  readonly grant: Resources;
  /** Never in this unit, and why. */
  readonly refused: ReadonlyMap<ResourceKind, string>;
  /** Not now, for somebody else has it, and why. */
  readonly waits: ReadonlyMap<ResourceKind, string>;
}

/**
 * Judges changes in one unit one after another. What shrinks is always admitted, and its memory does not count as free
 * yet: it may be deferred.
 * @param othersBytes memory reserved to instances that nothing is asked of
 * @param hostSpareBytes what the host can give beyond its reserve
 */
export function admit(
  asked: readonly Asked[],
  provisioned: Resources,
  others: Pick<Resources, 'memory' | 'storage'>,
  hostSpareBytes: number,
): Admitted[] {
  const taken: Record<'memory' | 'storage', number> = { memory: others.memory, storage: others.storage };
  for (const { present } of asked)
    for (const kind of ['memory', 'storage'] as const) taken[kind] += present[kind];
  let spareBytes = hostSpareBytes;
  return asked.map(({ id, present, wanted }) => {
    const refused = new Map<ResourceKind, string>();
    const waits = new Map<ResourceKind, string>();
    for (const kind of ['memory', 'storage'] as const) {
      const more = wanted[kind] - present[kind];
      if (more <= 0) continue;
      if (wanted[kind] > provisioned[kind]) {
        refused.set(kind, `its unit was provisioned with ${humanBytes(provisioned[kind])} of ${kind}`);
      } else if (taken[kind] + more > provisioned[kind]) {
        const left = Math.max(0, provisioned[kind] - taken[kind] + present[kind]);
        waits.set(
          kind,
          `others in its unit have the rest of its ${humanBytes(provisioned[kind])} of ${kind}, and leave it ${humanBytes(left)}`,
        );
      } else if (kind === 'memory' && more > spareBytes) {
        waits.set(kind, `the host has only ${humanBytes(Math.max(0, spareBytes))} of memory to give`);
      } else {
        taken[kind] += more;
        if (kind === 'memory') spareBytes -= more;
      }
    }
    const stays = (kind: ResourceKind): boolean => refused.has(kind) || waits.has(kind);
    const grant = {
      ...wanted,
      ...(stays('memory') ? { memory: present.memory } : {}),
      ...(stays('storage') ? { storage: present.storage } : {}),
    };
    return { id, present, wanted, grant, refused, waits };
  });
}
