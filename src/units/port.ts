// The seam to computing units: this machine, or a virtual machine. The core never asks a driver's name.
// Owns the contract (contract.ts beside it is its test). Instances are the agent's matter: a unit only gives the link to it.
import type { UnitId } from '../base/ids.ts';
import type { Resources } from '../model/resources.ts';
import type { AgentProtocol } from '../protocol/agent.ts';
import type { Caller, EventOf } from '../protocol/rpc.ts';

/** What a driver can do; each has a stated default in {@link defaultUnitCapabilities}. */
export interface UnitCapabilities {
  /** More than one unit can be provisioned. */
  readonly provision: boolean;
  /** The unit's own quantity can change while it runs. */
  readonly resize: boolean;
  /** Quantity can be claimed inside and given back to the host. */
  readonly claim: boolean;
  readonly snapshot: boolean;
  /** Instances of several tenants may run in one unit. */
  readonly shared: boolean;
}

export const defaultUnitCapabilities: UnitCapabilities = {
  provision: false,
  resize: false,
  claim: false,
  snapshot: false,
  shared: true,
};

/** Versioned and serialisable: what a restarted controller needs to find the unit again. */
export interface UnitHandle {
  readonly version: 1;
  readonly driver: string;
  readonly id: UnitId;
  readonly data: Readonly<Record<string, string | number | boolean | null>>;
}

export type UnitEvent =
  | { readonly type: 'agent'; readonly event: EventOf<AgentProtocol> }
  /** The agent can not be reached; calls wait or fail with Unavailable until `connected`. */
  | { readonly type: 'disconnected' }
  | { readonly type: 'connected' }
  | { readonly type: 'lost'; readonly reason: string };

export interface Unit {
  readonly handle: UnitHandle;
  /** Provisioned quantity. */
  readonly provisioned: Resources;
  /** The part that is claimed and given back to the host. */
  readonly claimed: Resources;
  /** The host's number for the unit's process; null when the unit is the host. */
  readonly pid: number | null;
  readonly agent: Caller<AgentProtocol>;
  /** Events from now on; the returned function ends it. */
  subscribe(listener: (event: UnitEvent) => void): () => void;
  close(): Promise<void>;
}

export interface UnitDriver {
  readonly name: string;
  readonly capabilities: UnitCapabilities;
  provision(id: UnitId, size: Resources): Promise<Unit>;
  /** Takes a unit over that another controller provisioned. @throws BellowsError NotFound when it is gone. */
  adopt(handle: UnitHandle): Promise<Unit>;
  /** @throws BellowsError NotSupportedHere without the capability; likewise below. */
  resize(unit: Unit, size: Resources): Promise<void>;
  claim(unit: Unit, amount: Partial<Resources>): Promise<void>;
  release(unit: Unit, amount: Partial<Resources>): Promise<void>;
  snapshot(unit: Unit): Promise<UnitHandle>;
  destroy(unit: Unit): Promise<void>;
}
