// What a gateway tells those beside it of what it carries. Pure.
import type { TenantId } from '../../base/ids.ts';
import type { Carries } from './beside.ts';

export interface Carried {
  /** Whether it may still send invocations to instances. */
  readonly mayInvoke: boolean;
  readonly connections: ReadonlyMap<TenantId, number>;
  /** Invocations that no instance has yet. */
  readonly waiting: ReadonlyMap<TenantId, number>;
  /** To whom its held connections go, if they do, and how many of a tenant's have gone. */
  readonly movedTo: number | undefined;
  readonly moved: ReadonlyMap<TenantId, number>;
}

export function carriesOf({ mayInvoke, connections, waiting, movedTo, moved }: Carried): Carries {
  const tenants = [...new Set([...connections.keys(), ...waiting.keys(), ...moved.keys()])];
  return {
    mayInvoke,
    movedTo,
    tenants: tenants.map((tenant) => ({
      tenant,
      connections: connections.get(tenant) ?? 0,
      waiting: waiting.get(tenant) ?? 0,
      moved: moved.get(tenant),
    })),
  };
}
