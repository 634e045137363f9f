// From what was submitted to the workload that is stored. Pure: time and identity are passed in.
import { workloadKey, type TenantId } from '../base/ids.ts';
import type { UnitKind } from '../model/unit-kind.ts';
import { defaultRequest, type FunctionWorkload, type NetworkMode, type Workload } from '../model/workload.ts';
import type { Deployment, FunctionDeployment, FunctionUpdate } from './control-plane.ts';
import { generationOf } from './generation.ts';
import { withChange } from './resize/plan-input.ts';

interface Moment {
  readonly nowMs: number;
  readonly revisionId: string;
}

/** Lambda's default of MaximumRetryAttempts. */
const defaultMaxRetries = 2;

/** A redeployment keeps what it does not say: when it was made, where it runs, tags, and reserved concurrency. */
export function deployedWorkload(
  tenant: TenantId,
  deployment: Deployment,
  present: Workload | undefined,
  context: Moment & { readonly network: NetworkMode },
): Workload {
  const { name, runtime, code, env, kind } = deployment;
  // Where the operator gave workloads no network, none can ask for it.
  const network = context.network === 'none' ? 'none' : (deployment.network ?? 'host');
  const entry = kind === 'app' ? deployment.start : deployment.handler;
  const unit = deployment.unit ?? present?.unit;
  const base = {
    key: workloadKey(tenant, name),
    tenant,
    name,
    runtime,
    codeSha256: code.sha256,
    codeSizeBytes: code.sizeBytes,
    generation: generationOf({
      codeSha256: code.sha256,
      env,
      runtime,
      network,
      entry: `${kind} ${entry}`,
      unit,
    }),
    request: withChange(defaultRequest, deployment.request),
    env,
    network,
    ...(unit === undefined ? {} : { unit }),
    tags: deployment.tags ?? present?.tags ?? {},
    createdAtMs: present?.createdAtMs ?? context.nowMs,
    modifiedAtMs: context.nowMs,
  };
  if (deployment.kind === 'app')
    return {
      ...base,
      kind: 'app',
      start: deployment.start,
      scale: deployment.scale,
      ...(deployment.directHttp === undefined ? {} : { directHttp: deployment.directHttp }),
    };
  const before = present?.kind === 'function' ? present : undefined;
  return {
    ...base,
    kind: 'function',
    ...(deployment.runtimeIdentifier === undefined
      ? {}
      : { runtimeIdentifier: deployment.runtimeIdentifier }),
    handler: deployment.handler,
    timeoutMs: deployment.timeoutMs,
    description: deployment.description ?? '',
    revisionId: context.revisionId,
    role: deployment.role ?? '',
    ...regionOf(deployment, before),
    url: deployment.url ?? false,
    ...(deployment.invokeMode === undefined ? {} : { invokeMode: deployment.invokeMode }),
    ...(deployment.websocket === undefined ? {} : { websocket: deployment.websocket }),
    reservedConcurrency: before?.reservedConcurrency ?? null,
    maxRetries: before?.maxRetries ?? defaultMaxRetries,
  };
}

function regionOf(
  deployment: FunctionDeployment,
  before: FunctionWorkload | undefined,
): { readonly region?: string } {
  const region = deployment.region ?? before?.region;
  return region === undefined ? {} : { region };
}

/** Everything of an update but the request, which reaches running instances by a resize. */
export function updatedFunction(
  present: FunctionWorkload,
  update: FunctionUpdate,
  moment: Moment,
): FunctionWorkload {
  const next = {
    ...present,
    handler: update.handler ?? present.handler,
    runtime: update.runtime ?? present.runtime,
    ...(update.runtime === undefined
      ? {}
      : { runtimeIdentifier: update.runtimeIdentifier ?? update.runtime }),
    timeoutMs: update.timeoutMs ?? present.timeoutMs,
    description: update.description ?? present.description,
    role: update.role ?? present.role,
    env: update.env ?? present.env,
    url: update.url ?? present.url,
    ...(update.invokeMode === undefined ? {} : { invokeMode: update.invokeMode }),
    codeSha256: update.code?.sha256 ?? present.codeSha256,
    codeSizeBytes: update.code?.sizeBytes ?? present.codeSizeBytes,
    revisionId: moment.revisionId,
    modifiedAtMs: moment.nowMs,
  };
  return { ...next, generation: generationOfWorkload(next) };
}

/** The same workload in another place. */
export function movedWorkload<W extends Workload>(present: W, unit: UnitKind, moment: Moment): W {
  const next = { ...revised(present, moment.nowMs, moment.revisionId), unit };
  return { ...next, generation: generationOfWorkload(next) } as W;
}

/** What it is called in the other place. */
export function generationElsewhere(workload: Workload): string {
  return generationOfWorkload({ ...workload, unit: workload.unit === 'vm' ? 'host' : 'vm' });
}

function generationOfWorkload(workload: Workload): string {
  const { codeSha256, env, runtime, network, unit, kind } = workload;
  const entry = `${kind} ${workload.kind === 'app' ? workload.start : workload.handler}`;
  return generationOf({ codeSha256, env, runtime, network, entry, unit });
}

/** The same workload after any change: a function has a new revision. */
export function revised(workload: Workload, nowMs: number, revisionId: string): Workload {
  return workload.kind === 'function'
    ? { ...workload, revisionId, modifiedAtMs: nowMs }
    : { ...workload, modifiedAtMs: nowMs };
}
