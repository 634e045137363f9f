// The controller as the APIs see it. Owns nothing but the list of who does what.
import { randomUUID } from 'node:crypto';
import type { TenantId, UnitId, WorkloadKey, WorkloadName } from '../base/ids.ts';
import type { Transaction } from '../model/change.ts';
import type { PartialResources } from '../model/resources.ts';
import type { CountedUse, Tenant, TenantLimits } from '../model/tenant.ts';
import type { UnitKind } from '../model/unit-kind.ts';
import type { FunctionWorkload, Workload } from '../model/workload.ts';
import type { AgentLink } from './agent-link.ts';
import type { AsyncQueue } from './async/queue.ts';
import type { AuditLog } from './audit.ts';
import type { Accounts } from './credits/accounts.ts';
import type { CodeStore } from './code-store.ts';
import type {
  AppRestart,
  AuditEvent,
  ChangeOptions,
  ControlPlane,
  Deployment,
  FunctionUpdate,
  HibernationReport,
  MovedWorkload,
  MoveReport,
  InstanceView,
  LedgerLine,
  LogEntry,
  MemoryAccount,
  ReclaimReport,
  ReclaimRequest,
  SubmittedCode,
  GatewayView,
  UnitView,
} from './control-plane.ts';
import type { Places } from './places.ts';
import type { Observer } from './observe.ts';
import type { Reclaimer } from './reclaim/reclaimer.ts';
import type { Reconciler } from './reconcile/reconciler.ts';
import type { Reservations } from './reservations.ts';
import type { WorkloadSizes } from './resize/workload-sizes.ts';
import type { Gateways } from './routes/gateways.ts';
import type { DesiredState } from './state/desired.ts';
import type { Tenants } from './tenants.ts';
import type { Workloads } from './workloads.ts';

/** Beyond a function's timeout: a cold start and the way there and back. */
const invokeMarginMs = 60_000;
/** A machine's memory goes to a disk that may be busy, or comes from it, and what was begun before it is waited for. */
const hibernationMs = 300_000;
/** Beyond the time that a reader of logs is willing to wait. */
const logMarginMs = 5_000;

export interface ControllerParts {
  readonly desired: DesiredState;
  readonly places: Places;
  readonly tenants: Tenants;
  readonly accounts: Accounts;
  readonly workloads: Workloads;
  readonly reservations: Reservations;
  readonly sizes: WorkloadSizes;
  readonly code: CodeStore;
  readonly observer: Observer;
  readonly reclaimer: Reclaimer;
  readonly queue: AsyncQueue;
  readonly reconciler: Reconciler;
  readonly gateways: Gateways;
  readonly link: AgentLink;
  readonly audit: AuditLog;
  readonly startedAtMs: number;
}

export class Controller implements ControlPlane {
  readonly #parts: ControllerParts;
  readonly startedAtMs: number;

  constructor(parts: ControllerParts) {
    this.#parts = parts;
    this.startedAtMs = parts.startedAtMs;
  }

  async putTenant(
    id: TenantId,
    change: { readonly limits?: Partial<TenantLimits>; readonly weight?: number },
  ): Promise<{ tenant: Tenant; created: boolean }> {
    const put = await this.#known(this.#parts.tenants.put(id, change));
    this.#parts.queue.retryThrottled(id);
    return put;
  }

  getTenant(id: TenantId): Tenant {
    return this.#parts.desired.requireTenant(id);
  }

  listTenants(): Tenant[] {
    return this.#parts.desired.tenants();
  }

  countedUse(): Promise<ReadonlyMap<TenantId, CountedUse> | null> {
    return this.#parts.gateways.usage();
  }

  memoryAccount(id: TenantId): MemoryAccount {
    return this.#parts.accounts.of(id);
  }

  deleteTenant(id: TenantId): Promise<void> {
    return this.#known(this.#parts.tenants.remove(id));
  }

  tenantByAccessKey(accessKeyId: string): Tenant | undefined {
    return this.#parts.desired.tenantByAccessKey(accessKeyId);
  }

  async setLimits(id: TenantId, limits: Partial<TenantLimits>, options: ChangeOptions): Promise<Transaction> {
    const transaction = await this.#known(this.#parts.tenants.setLimits(id, limits, options));
    this.#parts.queue.retryThrottled(id);
    return transaction;
  }

  deploy(
    tenant: TenantId,
    deployment: Deployment,
    options: { readonly mustCreate: boolean },
  ): Promise<Workload> {
    return this.#known(this.#parts.workloads.deploy(tenant, deployment, options.mustCreate));
  }

  updateFunction(tenant: TenantId, name: WorkloadName, update: FunctionUpdate): Promise<FunctionWorkload> {
    return this.#known(this.#parts.workloads.updateFunction(tenant, name, update));
  }

  async setReservedConcurrency(
    tenant: TenantId,
    name: WorkloadName,
    reserved: number | null,
  ): Promise<FunctionWorkload> {
    const changed = await this.#known(this.#parts.reservations.set(tenant, name, reserved));
    this.#parts.queue.retryThrottled(tenant);
    return changed;
  }

  setTags(tenant: TenantId, name: WorkloadName, tags: Readonly<Record<string, string>>): Promise<Workload> {
    return this.#parts.workloads.change(tenant, name, (present) => ({ ...present, tags }));
  }

  getWorkload(tenant: TenantId, name: WorkloadName): Workload {
    return this.#parts.desired.requireWorkload(tenant, name);
  }

  listWorkloads(tenant?: TenantId): Workload[] {
    return this.#parts.desired.workloads(tenant);
  }

  restartOf(key: WorkloadKey): AppRestart | null {
    return this.#parts.reconciler.restartOf(key);
  }

  deleteWorkload(tenant: TenantId, name: WorkloadName): Promise<void> {
    return this.#known(this.#parts.workloads.remove(tenant, name));
  }

  resizeWorkload(
    tenant: TenantId,
    name: WorkloadName,
    change: PartialResources & { readonly scale?: number },
    options: ChangeOptions,
  ): Promise<Transaction> {
    return this.#parts.sizes.resize(tenant, name, change, options);
  }

  unitKindOf(workload: Workload): UnitKind {
    return this.#parts.places.of(workload);
  }

  moveWorkload(tenant: TenantId, name: WorkloadName, to: UnitKind): Promise<MovedWorkload> {
    return this.#known(this.#parts.workloads.move(tenant, name, to));
  }

  storeArchive(tenant: TenantId, archive: Uint8Array): Promise<SubmittedCode> {
    return this.#parts.code.keep(tenant, archive);
  }

  codeArchive(workload: Workload): Promise<Buffer> {
    return this.#parts.code.archive(workload);
  }

  instances(): Promise<InstanceView[]> {
    return this.#parts.observer.instances();
  }

  gateways(): Promise<GatewayView[]> {
    return this.#parts.gateways.look();
  }

  units(): Promise<UnitView[]> {
    return this.#parts.observer.units();
  }

  hibernateUnit(unit: UnitId): Promise<HibernationReport> {
    return this.#parts.link.agent.call(
      'hibernate',
      { unit, why: 'it was asked to' },
      { timeoutMs: hibernationMs },
    );
  }

  wakeUnit(unit: UnitId): Promise<{ readonly durationMs: number }> {
    return this.#parts.link.agent.call('wake', { unit }, { timeoutMs: hibernationMs });
  }

  moveUnit(unit: UnitId): Promise<MoveReport> {
    return this.#parts.link.agent.call('move', { unit }, { timeoutMs: hibernationMs });
  }

  ledger(): Promise<LedgerLine[]> {
    return this.#parts.observer.ledger();
  }

  reclaim(request: ReclaimRequest): Promise<ReclaimReport> {
    return this.#parts.reclaimer.reclaim(request);
  }

  enqueue(
    workload: FunctionWorkload,
    requestId: string,
    event: string,
    clientContext: string,
  ): Promise<void> {
    return this.#parts.queue.enqueue(workload, requestId, event, clientContext);
  }

  invoke(workload: FunctionWorkload, event: string): ReturnType<ControlPlane['invoke']> {
    const call = { workload: workload.key, requestId: randomUUID(), event, clientContext: '' };
    return this.#parts.gateways.invoke(call, workload.timeoutMs + invokeMarginMs);
  }

  readLogs(
    key: WorkloadKey,
    options: { readonly cursor: string | null; readonly limit: number; readonly waitMs: number },
  ): Promise<{ entries: LogEntry[]; cursor: string }> {
    return this.#parts.link.agent.call(
      'readLogs',
      { workload: key, ...options },
      { timeoutMs: options.waitMs + logMarginMs },
    );
  }

  eventsSince(sequence: number, limit: number): Promise<AuditEvent[]> {
    return this.#parts.audit.since(sequence, limit);
  }

  subscribeEvents(listener: (event: AuditEvent) => void): () => void {
    return this.#parts.audit.subscribe(listener);
  }

  /** Answers when the gateways know too: who deploys and calls at once must not meet what was before. */
  async #known<T>(change: Promise<T>): Promise<T> {
    const result = await change;
    await this.#parts.gateways.sync();
    return result;
  }
}
