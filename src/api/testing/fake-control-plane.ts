// A ControlPlane in memory: enough of the real one's rules to show what the APIs make of them. Tests only.
import { createHash, randomUUID } from 'node:crypto';
import { BellowsError } from '../../base/errors.ts';
import {
  newTransactionId,
  workloadKey,
  type TenantId,
  type WorkloadKey,
  type WorkloadName,
} from '../../base/ids.ts';
import { mib } from '../../base/quantity.ts';
import type {
  AppRestart,
  AuditEvent,
  ControlPlane,
  Deployment,
  InstanceView,
  LogEntry,
  SubmittedCode,
} from '../../controller/control-plane.ts';
import type { ChangeStatus, CountChange, ResourceChange, Transaction } from '../../model/change.ts';
import { resourceKinds, type PartialResources } from '../../model/resources.ts';
import { countedLimits, unlimited, type CountedUse, type Tenant } from '../../model/tenant.ts';
import type { FunctionWorkload, Workload } from '../../model/workload.ts';
import { hostUnit, instanceOf, ledgerOf, theInstance } from './fake-machine.ts';
import { sized, workloadOf } from './fake-workload.ts';

export class FakeControlPlane implements ControlPlane {
  readonly startedAtMs = Date.UTC(2026, 0, 1);
  readonly tenants = new Map<TenantId, Tenant>();
  readonly restarts = new Map<WorkloadKey, AppRestart>();
  readonly workloads = new Map<WorkloadKey, Workload>();
  readonly blobs = new Map<string, Buffer>();
  readonly events: AuditEvent[] = [];
  readonly listeners = new Set<(event: AuditEvent) => void>();
  readonly logs: LogEntry[] = [];
  /** What was called with which options, for tests that look. */
  readonly calls: { readonly method: string; readonly args: readonly unknown[] }[] = [];
  /** How the next changes end. */
  nextStatus: ChangeStatus = 'applied';
  /** Thrown by the next invocation. */
  failNext: Error | undefined;

  async putTenant(
    id: TenantId,
    change: Parameters<ControlPlane['putTenant']>[1],
  ): Promise<{ tenant: Tenant; created: boolean }> {
    const old = this.tenants.get(id);
    const base: Tenant = old ?? {
      id,
      uid: 100_000 + this.tenants.size,
      accountId: String(100_000_000_000 + this.tenants.size),
      limits: unlimited,
      weight: 1,
      credentials: { accessKeyId: `AKIA${id.toUpperCase()}`, secretAccessKey: `secret of ${id}` },
      createdAtMs: this.startedAtMs,
    };
    const tenant = {
      ...base,
      limits: { ...base.limits, ...change.limits },
      weight: change.weight ?? base.weight,
    };
    this.tenants.set(id, tenant);
    return { tenant, created: old === undefined };
  }

  getTenant(id: TenantId): Tenant {
    const tenant = this.tenants.get(id);
    if (tenant === undefined)
      throw new BellowsError('NotFound', `There is no tenant ${id}.`, 'List them with GET /v1/tenants.');
    return tenant;
  }

  listTenants(): Tenant[] {
    return [...this.tenants.values()];
  }

  async deleteTenant(id: TenantId): Promise<void> {
    this.getTenant(id);
    this.tenants.delete(id);
  }

  tenantByAccessKey(accessKeyId: string): Tenant | undefined {
    return this.listTenants().find((tenant) => tenant.credentials.accessKeyId === accessKeyId);
  }

  /** Null: no gateway says. */
  use: ReadonlyMap<TenantId, CountedUse> | null = new Map();

  readonly memoryAccount = () => ({ own: 3_600, borrowed: 0, lent: 1_800, unused: 0, credit: 1_800 });

  async countedUse(): Promise<ReadonlyMap<TenantId, CountedUse> | null> {
    return this.use;
  }

  async setLimits(...args: Parameters<ControlPlane['setLimits']>): Promise<Transaction> {
    this.calls.push({ method: 'setLimits', args });
    const [id, limits, options] = args;
    const tenant = this.getTenant(id);
    return this.#transaction(options.plan, {
      tenants: [
        {
          tenant: id,
          changes: [
            ...resourceKinds
              .filter((resource) => limits[resource] !== undefined)
              .map((resource) => this.#change(resource, tenant.limits[resource], limits[resource] ?? null)),
            ...countedLimits
              .filter((resource) => limits[resource] !== undefined)
              .map((resource): CountChange => ({
                ...this.#change('memory', tenant.limits[resource], limits[resource] ?? null),
                resource,
              })),
          ],
        },
      ],
    });
  }

  #change(
    resource: (typeof resourceKinds)[number],
    before: number | null,
    wanted: number | null,
  ): ResourceChange {
    const applied = this.nextStatus === 'applied';
    return {
      resource,
      before,
      after: applied ? wanted : before,
      wanted,
      status: this.nextStatus,
      reason: applied ? '' : 'in use',
      durationMs: 0.5,
    };
  }

  #transaction(planned: boolean, parts: Partial<Transaction>): Transaction {
    return {
      id: newTransactionId(),
      planned,
      status: this.nextStatus,
      reason: this.nextStatus === 'applied' ? '' : 'in use',
      tenants: [],
      instances: [],
      durationMs: 1,
      stages: [{ name: 'plan', durationMs: 0.25 }],
      connections: { open: 3, kept: 3, dropped: 0 },
      ...parts,
    };
  }

  async deploy(
    tenant: TenantId,
    deployment: Deployment,
    { mustCreate }: { readonly mustCreate: boolean },
  ): Promise<Workload> {
    this.getTenant(tenant);
    const key = workloadKey(tenant, deployment.name);
    const old = this.workloads.get(key);
    if (old !== undefined && mustCreate) throw new BellowsError('Conflict', `${key} exists.`);
    const workload = workloadOf(tenant, deployment, this.startedAtMs);
    this.workloads.set(key, workload);
    return workload;
  }

  #changeFunction(tenant: TenantId, name: WorkloadName, change: Partial<FunctionWorkload>): FunctionWorkload {
    const workload = this.getWorkload(tenant, name);
    if (workload.kind !== 'function') throw new BellowsError('NotFound', 'It is no function.');
    const changed = { ...workload, ...change, revisionId: randomUUID() };
    this.workloads.set(workload.key, changed);
    return changed;
  }

  async updateFunction(
    ...[tenant, name, update]: Parameters<ControlPlane['updateFunction']>
  ): Promise<FunctionWorkload> {
    this.calls.push({ method: 'updateFunction', args: [tenant, name, update] });
    const { request, code, expectedRevision, ...rest } = update;
    const workload = this.getWorkload(tenant, name);
    if (
      workload.kind === 'function' &&
      expectedRevision !== undefined &&
      expectedRevision !== workload.revisionId
    ) {
      throw new BellowsError('Conflict', 'Another revision is the present one.');
    }
    return this.#changeFunction(tenant, name, {
      ...rest,
      ...(request === undefined ? {} : { request: sized(workload.request, request) }),
      ...(code === undefined ? {} : { codeSha256: code.sha256, codeSizeBytes: code.sizeBytes }),
    });
  }

  async setReservedConcurrency(
    tenant: TenantId,
    name: WorkloadName,
    reserved: number | null,
  ): Promise<FunctionWorkload> {
    return this.#changeFunction(tenant, name, { reservedConcurrency: reserved });
  }

  async setTags(
    tenant: TenantId,
    name: WorkloadName,
    tags: Readonly<Record<string, string>>,
  ): Promise<Workload> {
    const workload = { ...this.getWorkload(tenant, name), tags };
    this.workloads.set(workload.key, workload);
    return workload;
  }

  getWorkload(tenant: TenantId, name: WorkloadName): Workload {
    const workload = this.workloads.get(workloadKey(tenant, name));
    if (workload === undefined) throw new BellowsError('NotFound', `There is no workload ${tenant}/${name}.`);
    return workload;
  }

  listWorkloads(tenant?: TenantId): Workload[] {
    const all = [...this.workloads.values()];
    return tenant === undefined ? all : all.filter((workload) => workload.tenant === tenant);
  }

  restartOf: ControlPlane['restartOf'] = (key) => this.restarts.get(key) ?? null;

  unitKindOf: ControlPlane['unitKindOf'] = ({ unit = 'host' }) => unit;
  moveWorkload: ControlPlane['moveWorkload'] = async (tenant, name, to) => {
    this.workloads.set(workloadKey(tenant, name), { ...this.getWorkload(tenant, name), unit: to });
    return { from: 'host', to, durationMs: 12 };
  };
  async deleteWorkload(tenant: TenantId, name: WorkloadName): Promise<void> {
    this.workloads.delete(this.getWorkload(tenant, name).key);
  }

  async resizeWorkload(...args: Parameters<ControlPlane['resizeWorkload']>): Promise<Transaction> {
    this.calls.push({ method: 'resizeWorkload', args });
    const [tenant, name, change, { plan }] = args;
    const { key, request } = this.getWorkload(tenant, name);
    const size: PartialResources = change;
    return this.#transaction(plan, {
      instances: [
        {
          instance: theInstance,
          workload: key,
          tenant,
          changes: resourceKinds
            .filter((resource) => size[resource] !== undefined)
            .map((resource) => this.#change(resource, request[resource], size[resource] ?? null)),
          connections: { open: 3, kept: 3, dropped: 0 },
        },
      ],
    });
  }

  async storeArchive(_tenant: TenantId, archive: Uint8Array): Promise<SubmittedCode> {
    const sha256 = createHash('sha256').update(archive).digest('hex');
    this.blobs.set(sha256, Buffer.from(archive));
    return { sha256, sizeBytes: archive.length };
  }

  async codeArchive(workload: Workload): Promise<Buffer> {
    return this.blobs.get(workload.codeSha256) ?? Buffer.alloc(0);
  }

  async instances(): Promise<InstanceView[]> {
    return this.listWorkloads().map((workload) => instanceOf(workload, this.startedAtMs));
  }

  async units(): ReturnType<ControlPlane['units']> {
    return [hostUnit];
  }

  gateways: ControlPlane['gateways'] = async () => [];

  async ledger(): ReturnType<ControlPlane['ledger']> {
    return ledgerOf(this.listTenants());
  }

  hibernateUnit: ControlPlane['hibernateUnit'] = async () => ({
    ...{ beforeBytes: 200 * mib, afterBytes: 0, storedBytes: 150 * mib, durationMs: 800 },
  });
  wakeUnit: ControlPlane['wakeUnit'] = async () => ({ durationMs: 400 });
  moveUnit: ControlPlane['moveUnit'] = async () => ({ pid: 7, pauseMs: 2, copiedBytes: mib, durationMs: 9 });

  async reclaim(request: Parameters<ControlPlane['reclaim']>[0]): ReturnType<ControlPlane['reclaim']> {
    this.calls.push({ method: 'reclaim', args: [request] });
    return {
      planned: request.plan === true,
      wantedBytes: request.memoryBytes ?? null,
      durationMs: 12,
      connections: { open: 3, kept: 3, dropped: 0 },
      ...{ foundBytes: 10 * mib, claimedBytes: 10 * mib, freedBytes: 8 * mib, missingBytes: 0 },
      from: this.listWorkloads()
        .slice(0, 1)
        .map(({ key }) => ({
          instance: theInstance,
          workload: key,
          how: 'trim',
          beforeBytes: 90 * mib,
          afterBytes: 82 * mib,
          claimedBytes: 8 * mib,
        })),
    };
  }

  async enqueue(): Promise<void> {}

  async invoke(_workload: FunctionWorkload, event: string): ReturnType<ControlPlane['invoke']> {
    if (this.failNext !== undefined) {
      const thrown = this.failNext;
      this.failNext = undefined;
      throw thrown;
    }
    const { outcome = 'ok' } = JSON.parse(event) as {
      outcome?: 'ok' | 'functionError' | 'throttled' | 'unavailable';
    };
    return { outcome, payload: event };
  }

  async readLogs(...args: Parameters<ControlPlane['readLogs']>): ReturnType<ControlPlane['readLogs']> {
    this.calls.push({ method: 'readLogs', args });
    return { entries: this.logs.slice(0, args[1].limit), cursor: 'next' };
  }

  async eventsSince(sequence: number, limit: number): Promise<AuditEvent[]> {
    return this.events.filter((event) => event.sequence > sequence).slice(0, limit);
  }

  subscribeEvents(listener: (event: AuditEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  happen(message: string): void {
    const event: AuditEvent = {
      sequence: this.events.length + 1,
      timeMs: this.startedAtMs,
      type: 'test.happened',
      tenant: 'acme' as TenantId,
      workload: 'acme/hello' as WorkloadKey,
      instance: null,
      message,
      data: {},
    };
    this.events.push(event);
    for (const listener of this.listeners) listener(event);
  }
}
