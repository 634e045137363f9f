// What kind of unit a workload's instances run in: this machine itself, or virtual machines. Types and pure rules; which
// of both there are is said at `bellows up`.
export const unitKinds = ['host', 'vm'] as const;
export type UnitKind = (typeof unitKinds)[number];

/** What a Bellows was started with. With both, this machine is where instances run that do not say otherwise: it costs least. */
export interface UnitKindsHere {
  readonly units?: unknown;
  /** Instances run on this machine too, beside its virtual machines. */
  readonly hostToo: boolean;
}

/** The kinds there are; the first is where instances run that do not say otherwise. */
export function unitKindsOf({ units, hostToo }: UnitKindsHere): readonly [UnitKind, ...UnitKind[]] {
  if (units === undefined || units === null) return ['host'];
  return hostToo ? ['host', 'vm'] : ['vm'];
}
