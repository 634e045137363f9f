// What the APIs may ask of the controller: the one interface between src/api and src/controller.
// Everything here is already validated and in base units; APIs translate to and from their own wire shapes.
import type { Rung } from '../allocator/reclaim/ladder.ts';
import type { InstanceId, TenantId, UnitId, WorkloadKey, WorkloadName } from '../base/ids.ts';
import type { ConnectionOutcome, Transaction } from '../model/change.ts';
import type { InstanceInfo, InstanceUsage } from '../model/instance.ts';
import type { PartialResources, ResourceKind, Resources } from '../model/resources.ts';
import type { CountedUse, Tenant, TenantLimits } from '../model/tenant.ts';
import type { UnitKind } from '../model/unit-kind.ts';
import type { WebSocketSettings } from '../model/websocket.ts';
import type {
  FunctionWorkload,
  NetworkMode,
  RuntimeName,
  UrlInvokeMode,
  Workload,
} from '../model/workload.ts';
import type { AgentCapabilities } from '../protocol/agent.ts';

export interface ChangeOptions {
  /** Only say what would be done. */
  readonly plan: boolean;
  /** How long to wait for what is deferred before answering. */
  readonly waitMs: number;
}

/** An archive that has been validated and unpacked into a directory of its own below `layout.code`. */
export interface SubmittedCode {
  readonly sha256: string;
  readonly sizeBytes: number;
}

interface DeploymentBase {
  readonly name: WorkloadName;
  readonly runtime: RuntimeName;
  readonly code: SubmittedCode;
  readonly request: PartialResources;
  readonly env: Readonly<Record<string, string>>;
  readonly network?: NetworkMode;
  /** Where its instances run; as before, or where this Bellows runs those that do not say, when it is not given. */
  readonly unit?: UnitKind;
  readonly tags?: Readonly<Record<string, string>>;
}

export interface AppDeployment extends DeploymentBase {
  readonly kind: 'app';
  readonly start: string;
  readonly scale: number;
  readonly directHttp?: boolean;
}

export interface FunctionDeployment extends DeploymentBase {
  readonly kind: 'function';
  /** The runtime as the caller called it; `runtime` when it is not given. */
  readonly runtimeIdentifier?: string;
  readonly handler: string;
  readonly timeoutMs: number;
  readonly description?: string;
  readonly role?: string;
  /** The region that its code is to see; a default when it is not given. */
  readonly region?: string;
  readonly url?: boolean;
  /** Of its URL; `BUFFERED` when it is not given. */
  readonly invokeMode?: UrlInvokeMode;
  /** It takes no WebSockets when it is not given. */
  readonly websocket?: WebSocketSettings;
}

export type Deployment = AppDeployment | FunctionDeployment;

/** Changes of a function's configuration; memory and timeout reach running instances live, the rest begins a new generation. */
export interface FunctionUpdate {
  readonly handler?: string;
  readonly runtime?: RuntimeName;
  /** As in {@link FunctionDeployment}; read together with `runtime`. */
  readonly runtimeIdentifier?: string;
  readonly timeoutMs?: number;
  readonly description?: string;
  readonly role?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly request?: PartialResources;
  readonly code?: SubmittedCode;
  /** Whether it is served at its URL; begins no new generation. */
  readonly url?: boolean;
  /** Of its URL; begins no new generation. */
  readonly invokeMode?: UrlInvokeMode;
  /** The caller's view of `revisionId`; Conflict when it is not the present one. */
  readonly expectedRevision?: string;
}

/** An app that has fewer instances than it should, since they failed. */
export interface AppRestart {
  /** In a row. */
  readonly failures: number;
  /** Of the last one, for people. */
  readonly reason: string;
  /** Past while a start is being tried. */
  readonly nextStartAtMs: number;
}

export interface InstanceView extends InstanceInfo {
  readonly usage: InstanceUsage;
  /** Measured and predicted need. */
  readonly demand: Resources;
  readonly used: Resources;
  /** Taken back by a reclaim out of what it was provisioned with. */
  readonly claimed: Resources;
  /** It has less memory than was asked for it, and that troubles it; absent otherwise. */
  readonly strain?: StrainView;
  /** The host's number of its virtual machine's process; null where it runs on this machine itself. */
  readonly unitPid: number | null;
}

/** How an instance gets on that has less memory than was asked for it. */
export interface StrainView {
  /** It has come near its limit, or stands at it and waits for more. */
  readonly is: 'near' | 'waiting';
  readonly requestedBytes: number;
  /** Why it has no more, as a sentence. */
  readonly reason: string;
}

/**
 * A tenant's memory over time, in byte-seconds since it was made: `own` and `borrowed` is what it had, `own`, `lent` and `unused`
 * are its share by weight and limit. What it lent others had, and is theirs to account for.
 */
export interface MemoryAccount {
  readonly own: number;
  readonly borrowed: number;
  readonly lent: number;
  readonly unused: number;
  /** What it lent and has not had back, less than 0 for what it borrowed: who has more is first at what others do not demand. */
  readonly credit: number;
}

export interface GatewayView {
  readonly pid: number;
  /** Which of the gateways that serve together; one that replaces another has the same. */
  readonly place: number;
  /** Leaving, it finishes what it carries. Silent, it did not say so in time. */
  readonly state: 'starting' | 'serving' | 'leaving' | 'silent';
  /** Of clients, open in its process; null when it did not say. */
  readonly connections: number | null;
}

export interface UnitView {
  readonly id: string;
  readonly driver: string;
  /** This machine is ready or not; a virtual machine is on its way, nobody's yet, somebody's, or on its way out. */
  readonly state: 'ready' | 'disconnected' | 'starting' | 'warm' | 'bound' | 'hibernated' | 'stopping';
  readonly pid: number | null;
  /** Whose virtual machine it is; null for this machine, one that is nobody's, and one that several share. */
  readonly tenant: TenantId | null;
  readonly instances: number;
  /** Processes that are ready and belong to nobody yet, by the agent's last count. */
  readonly warm: number;
  readonly capabilities: AgentCapabilities | null;
  readonly provisioned: Resources;
  readonly claimed: Resources;
  readonly granted: Resources;
  readonly used: Resources;
  /** What a virtual machine really takes of the host, by the host's own accounting; null for this machine. */
  readonly host: {
    /** Memory of its process that no other shares. */
    readonly privateBytes: number;
    /** Memory charged to its group; null where there are no groups. */
    readonly groupBytes: number | null;
    /** Blocks of its scratch disk. */
    readonly storageBytes: number;
  } | null;
}

/** Of a virtual machine that was put on disk: memory of its process that no other shares, and what of the disk is taken instead. */
export interface HibernationReport {
  readonly beforeBytes: number;
  readonly afterBytes: number;
  readonly storedBytes: number;
  readonly durationMs: number;
}

/** Of a workload whose instances run elsewhere now. */
export interface MovedWorkload {
  readonly from: UnitKind;
  readonly to: UnitKind;
  /** Until an instance served there. */
  readonly durationMs: number;
}

/** Of a virtual machine that goes on in another process. */
export interface MoveReport {
  readonly pid: number;
  /** How long nothing in it ran. */
  readonly pauseMs: number;
  readonly copiedBytes: number;
  readonly durationMs: number;
}

export interface LedgerLine {
  readonly resource: ResourceKind;
  readonly capacity: number;
  /**
   * What units were made with: the sum over virtual machines, or where instances run on this machine itself all that it is, for
   * machines beside that are made out of the same. What each place has of it is in `places`.
   */
  readonly provisioned: number;
  /** Granted to instances. */
  readonly granted: number;
  readonly used: number;
  readonly claimed: number;
  /** capacity − granted where that is positive, else 0. */
  readonly unallocated: number;
  /** granted − capacity where that is positive, else 0: more is granted than there is. */
  readonly oversubscribed: number;
  /** Where instances run: this machine itself, virtual machines. */
  readonly places: readonly {
    readonly place: UnitKind;
    readonly provisioned: number;
    readonly granted: number;
    readonly claimed: number;
  }[];
  readonly tenants: readonly {
    readonly tenant: TenantId;
    readonly limit: number | null;
    readonly granted: number;
    readonly used: number;
  }[];
}

export interface ReclaimRequest {
  /** All that can be found without ending anything, when absent. */
  readonly memoryBytes?: number;
  /** Whoever is idle, when absent. */
  readonly from?: TenantId | InstanceId | WorkloadKey;
  /** Only say what would be done. */
  readonly plan?: boolean;
}

/** One step of a reclaim; of a plan, what it is expected to bring. */
export interface ReclaimedFrom {
  readonly instance: InstanceId;
  readonly workload: WorkloadKey;
  /** The rung of the ladder. `claim`: trimmed inside its virtual machine, and what nothing there has claimed of that. */
  readonly how: Rung;
  /** What it is charged; of a plan for a virtual machine, with what nothing inside uses. */
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** What nobody has to give it before it is needed again: trimmed from it, claimed of its machine, or all that it had. */
  readonly claimedBytes: number;
}

export interface ReclaimReport {
  /** Nothing was done. */
  readonly planned: boolean;
  /** Null: all that can be found. */
  readonly wantedBytes: number | null;
  readonly foundBytes: number;
  readonly claimedBytes: number;
  /** What nobody had to give. */
  readonly missingBytes: number;
  /** By the kernel's figures before and after. */
  readonly freedBytes: number;
  /** In the order in which they were, or would be, asked. */
  readonly from: readonly ReclaimedFrom[];
  readonly durationMs: number;
  /** Of those that were asked. */
  readonly connections: ConnectionOutcome;
}

/** Something that happened, kept in the store: who, what, when, why, how long, and what it did to connections. */
export interface AuditEvent {
  /** Grows by one: the `id` of the server-sent event. */
  readonly sequence: number;
  readonly timeMs: number;
  readonly type: string;
  readonly tenant: TenantId | null;
  readonly workload: WorkloadKey | null;
  readonly instance: InstanceId | null;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface LogEntry {
  readonly timeMs: number;
  readonly instance: string;
  readonly line: string;
}

/** Errors are BellowsErrors with the codes named in src/base/errors.ts; `NotFound` and `Conflict` mean what they say. */
export interface ControlPlane {
  putTenant(
    id: TenantId,
    change: { readonly limits?: Partial<TenantLimits>; readonly weight?: number },
  ): Promise<{ tenant: Tenant; created: boolean }>;
  getTenant(id: TenantId): Tenant;
  listTenants(): Tenant[];
  /** Connections and invocations that tenants have now; null when no gateway says so. One that has none may be left out. */
  countedUse(): Promise<ReadonlyMap<TenantId, CountedUse> | null>;
  /** What a tenant had, lent and borrowed of memory since it was made. */
  memoryAccount(id: TenantId): MemoryAccount;
  /** Ends the tenant's instances and removes its workloads. */
  deleteTenant(id: TenantId): Promise<void>;
  tenantByAccessKey(accessKeyId: string): Tenant | undefined;
  setLimits(id: TenantId, limits: Partial<TenantLimits>, options: ChangeOptions): Promise<Transaction>;

  /** Creates or replaces; resolves when the new generation serves (an app listens), or fails with StartFailed and keeps the old one. */
  deploy(
    tenant: TenantId,
    deployment: Deployment,
    options: { readonly mustCreate: boolean },
  ): Promise<Workload>;
  updateFunction(tenant: TenantId, name: WorkloadName, update: FunctionUpdate): Promise<FunctionWorkload>;
  /** @throws BellowsError Infeasible when it would leave the tenant's other functions less than a tenth of its limit */
  setReservedConcurrency(
    tenant: TenantId,
    name: WorkloadName,
    reserved: number | null,
  ): Promise<FunctionWorkload>;
  setTags(tenant: TenantId, name: WorkloadName, tags: Readonly<Record<string, string>>): Promise<Workload>;
  getWorkload(tenant: TenantId, name: WorkloadName): Workload;
  listWorkloads(tenant?: TenantId): Workload[];
  /** Null when all its instances run, or nothing is known to have failed. */
  restartOf(key: WorkloadKey): AppRestart | null;
  deleteWorkload(tenant: TenantId, name: WorkloadName): Promise<void>;
  /** Memory, cpu, storage and bandwidth of every instance, and an app's number of instances, live. */
  resizeWorkload(
    tenant: TenantId,
    name: WorkloadName,
    change: PartialResources & { readonly scale?: number },
    options: ChangeOptions,
  ): Promise<Transaction>;
  /** Where its instances run, or are to. */
  unitKindOf(workload: Workload): UnitKind;
  /**
   * Has it run elsewhere, and answers when it serves there: callers and held clients notice nothing.
   * @throws BellowsError NotFound, NotSupportedHere, NoRoom, StartFailed: it goes on where it is then
   */
  moveWorkload(tenant: TenantId, name: WorkloadName, to: UnitKind): Promise<MovedWorkload>;
  /**
   * Keeps a submitted archive's bytes. Call it before unpacking into `layout.codeOf(tenant, sha256)`: it also
   * holds that directory back from clean-up until a deployment names it.
   */
  storeArchive(tenant: TenantId, archive: Uint8Array): Promise<SubmittedCode>;
  /** The submitted archive. */
  codeArchive(workload: Workload): Promise<Buffer>;

  instances(): Promise<InstanceView[]>;
  units(): Promise<UnitView[]>;
  /** By place. */
  gateways(): Promise<GatewayView[]>;
  /** @throws BellowsError NotFound, Conflict, NotSupportedHere, NoRoom */
  hibernateUnit(id: UnitId): Promise<HibernationReport>;
  /** Nothing happens to one that runs. @throws BellowsError NotFound, NotSupportedHere, NoRoom */
  wakeUnit(id: UnitId): Promise<{ readonly durationMs: number }>;
  /** @throws BellowsError NotFound, Conflict, NotSupportedHere, NoRoom: it goes on where it is then */
  moveUnit(id: UnitId): Promise<MoveReport>;
  ledger(): Promise<LedgerLine[]>;
  reclaim(request: ReclaimRequest): Promise<ReclaimReport>;

  /** Puts an asynchronous invocation into the durable queue; accepted when it resolves. */
  enqueue(workload: FunctionWorkload, requestId: string, event: string, clientContext: string): Promise<void>;
  /** Runs a function through the gateway and waits. */
  invoke(
    workload: FunctionWorkload,
    event: string,
  ): Promise<{ outcome: 'ok' | 'functionError' | 'throttled' | 'unavailable'; payload: string }>;
  readLogs(
    key: WorkloadKey,
    options: { readonly cursor: string | null; readonly limit: number; readonly waitMs: number },
  ): Promise<{ entries: LogEntry[]; cursor: string }>;
  /** Kept events after `sequence`, oldest first. */
  eventsSince(sequence: number, limit: number): Promise<AuditEvent[]>;
  subscribeEvents(listener: (event: AuditEvent) => void): () => void;
  /** Sums for /metrics. */
  readonly startedAtMs: number;
}
