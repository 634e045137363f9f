// The answer to a resize: one transaction over tenants' and instances' grants (MISSION E1).
//
//   plan ─▶ notify ─▶ free ─▶ verify ─▶ apply ─▶ applied
//     │                          │
//     ▼                          ▼
//  infeasible                deferred ──usage falls──▶ applied
import type { InstanceId, TenantId, TransactionId, WorkloadKey } from '../base/ids.ts';
import type { ResourceKind } from './resources.ts';
import type { CountedLimit } from './tenant.ts';

export const changeStatuses = ['applied', 'deferred', 'infeasible'] as const;
export type ChangeStatus = (typeof changeStatuses)[number];

/** What became of one resource of one owner. Amounts are in the resource's base unit; null is "no limit of its own". */
export interface ResourceChange {
  readonly resource: ResourceKind;
  /** The limit that the kernel held before. */
  readonly before: number | null;
  /** The limit that the kernel holds now: the wanted one when `applied`, unchanged otherwise. */
  readonly after: number | null;
  readonly wanted: number | null;
  readonly status: ChangeStatus;
  /** Why it was not applied; empty when it was. */
  readonly reason: string;
  readonly durationMs: number;
}

export interface ConnectionOutcome {
  readonly open: number;
  readonly kept: number;
  readonly dropped: number;
}

export interface InstanceChange {
  readonly instance: InstanceId;
  readonly workload: WorkloadKey;
  readonly tenant: TenantId;
  readonly changes: readonly ResourceChange[];
  readonly connections: ConnectionOutcome;
}

export interface TenantChange {
  readonly tenant: TenantId;
  readonly changes: readonly ResourceChange[];
}

/** What became of a limit that gateways hold. Nothing must be freed for it: it is applied where it is stored. Null is "no limit". */
export interface CountChange {
  readonly resource: CountedLimit;
  readonly before: number | null;
  readonly after: number | null;
  readonly wanted: number | null;
  readonly status: ChangeStatus;
  readonly reason: string;
  readonly durationMs: number;
}

/** What became of a tenant's limits, those included that no unit knows. */
export interface LimitsChange {
  readonly tenant: TenantId;
  readonly changes: readonly (ResourceChange | CountChange)[];
}

/** How long one stage of a change took. Stages overlap: what is wanted is stored while the unit applies it. */
export interface Stage {
  readonly name: 'plan' | 'store' | 'unit';
  readonly durationMs: number;
}

export interface Transaction {
  readonly id: TransactionId;
  readonly planned: boolean;
  readonly status: ChangeStatus;
  readonly reason: string;
  readonly tenants: readonly LimitsChange[];
  readonly instances: readonly InstanceChange[];
  readonly durationMs: number;
  /** Those that were gone through. */
  readonly stages: readonly Stage[];
  readonly connections: ConnectionOutcome;
}

/** The worst of several outcomes: one part that is infeasible or deferred makes the whole so. */
export function worstStatus(statuses: Iterable<ChangeStatus>): ChangeStatus {
  let worst = 0;
  for (const status of statuses) worst = Math.max(worst, changeStatuses.indexOf(status));
  return changeStatuses[worst] ?? 'applied';
}
