// What the controller keeps in the store, under which keys. Types, keys and their reading; no I/O.
//
//   tenant/ID             Tenant
//   workload/TENANT/NAME  WorkloadRecord
//   meta/uid              the next user number to give out
//   unit/ID               UnitHandle
//   memory/TENANT/NAME    StoredMemory: what is known of a workload's demand (../demand)
//   meta/accounts         what tenants lent and borrowed (../credits)
//   async/REQUEST         QueuedEvent
//   event/SEQUENCE        AuditEvent
import type { TenantId, UnitId, WorkloadKey } from '../../base/ids.ts';
import type { Workload } from '../../model/workload.ts';

/**
 * A workload and, while a deployment of an app is under way, its successor. Clients see `current` alone; the
 * candidate becomes it when it listens, and is dropped when it can not. A first deployment has no `current`.
 *
 *   {null, A} ──A listens──▶ {A, null} ──deploy B──▶ {A, B} ──B listens──▶ {B, null}
 *       └─A fails─▶ (removed)                          └─B fails─▶ {A, null}
 */
export interface WorkloadRecord {
  readonly current: Workload | null;
  readonly candidate: Workload | null;
}

export const keys = {
  tenants: 'tenant/',
  tenant: (id: TenantId): string => `tenant/${id}`,
  workloads: 'workload/',
  workload: (key: WorkloadKey): string => `workload/${key}`,
  nextUid: 'meta/uid',
  accounts: 'meta/accounts',
  unit: (id: UnitId): string => `unit/${id}`,
  memories: 'memory/',
  memory: (key: WorkloadKey): string => `memory/${key}`,
  queue: 'async/',
  queued: (requestId: string): string => `async/${requestId}`,
  events: 'event/',
  /** Sixteen digits, so that the order of keys is the order of numbers. */
  event: (sequence: number): string => `event/${String(sequence).padStart(16, '0')}`,
} as const;
