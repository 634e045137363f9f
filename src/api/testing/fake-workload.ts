// The workload that the fake control plane makes of a deployment. Tests only.
import { randomUUID } from 'node:crypto';
import { workloadKey, type TenantId } from '../../base/ids.ts';
import type { Deployment } from '../../controller/control-plane.ts';
import type { PartialResources, Resources } from '../../model/resources.ts';
import { defaultRequest, type Workload } from '../../model/workload.ts';

/** Laid over one another; what is undefined changes nothing. */
export function sized(base: Resources, change: PartialResources): Resources {
  const { memory = base.memory, cpu = base.cpu, storage = base.storage, bandwidth = base.bandwidth } = change;
  return { memory, cpu, storage, bandwidth };
}

export function workloadOf(tenant: TenantId, deployment: Deployment, createdAtMs: number): Workload {
  const base = {
    key: workloadKey(tenant, deployment.name),
    tenant,
    name: deployment.name,
    runtime: deployment.runtime,
    codeSha256: deployment.code.sha256,
    codeSizeBytes: deployment.code.sizeBytes,
    generation: randomUUID(),
    request: sized(defaultRequest, deployment.request),
    env: deployment.env,
    network: deployment.network ?? 'host',
    tags: deployment.tags ?? {},
    createdAtMs,
    modifiedAtMs: createdAtMs + 1_234,
  } as const;
  return deployment.kind === 'app'
    ? { kind: 'app', ...base, start: deployment.start, scale: deployment.scale }
    : {
        kind: 'function',
        ...base,
        ...(deployment.runtimeIdentifier === undefined
          ? {}
          : { runtimeIdentifier: deployment.runtimeIdentifier }),
        handler: deployment.handler,
        timeoutMs: deployment.timeoutMs,
        description: deployment.description ?? '',
        revisionId: randomUUID(),
        role: deployment.role ?? '',
        ...(deployment.region === undefined ? {} : { region: deployment.region }),
        url: deployment.url ?? false,
        ...(deployment.invokeMode === undefined ? {} : { invokeMode: deployment.invokeMode }),
        ...(deployment.websocket === undefined ? {} : { websocket: deployment.websocket }),
        reservedConcurrency: null,
        maxRetries: 2,
      };
}
