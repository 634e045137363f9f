// A workload as /v1 shows it, and the log lines of one.
import { z } from 'zod';
import { formatResources } from '../../../model/resources.ts';
import type { WebSocketSettings } from '../../../model/websocket.ts';
import { unitKinds } from '../../../model/unit-kind.ts';
import { runtimeNames, urlInvokeModes, type Workload } from '../../../model/workload.ts';
import type { AppRestart, ControlPlane, LogEntry } from '../../../controller/control-plane.ts';
import { showTime, sizeView, timeView } from './quantities.ts';

const base = {
  tenant: z.string(),
  name: z.string(),
  runtime: z.enum(runtimeNames),
  ...sizeView.shape,
  env: z.record(z.string(), z.string()),
  network: z.enum(['host', 'none']),
  unit: z
    .enum(unitKinds)
    .meta({ description: 'Where its instances run: on this machine, or in virtual machines.' }),
  tags: z.record(z.string(), z.string()),
  code: z.object({ sha256: z.string(), sizeBytes: z.number() }),
  generation: z.string().meta({ description: 'Changes when instances are replaced: not on a resize.' }),
  path: z.string().meta({ description: 'Where it is reached on the one port.' }),
  createdAt: timeView,
  modifiedAt: timeView,
};

const webSocketView = z.object({
  routes: z.array(z.string()),
  routeResponses: z
    .array(z.string())
    .nullable()
    .meta({ description: 'Routes whose answers go to the client; null: all.' }),
  routeSelectionExpression: z.string(),
  idleTimeout: z.number().nullable().meta({ description: 'Seconds; null: none.' }),
  maxDuration: z.number().nullable().meta({ description: 'Seconds; null: none.' }),
});

export const workloadView = z
  .discriminatedUnion('kind', [
    z.object({
      kind: z.literal('app'),
      ...base,
      start: z.string(),
      scale: z.number(),
      directHttp: z.boolean(),
      restart: z
        .object({ failures: z.number(), reason: z.string(), nextStartAt: timeView })
        .nullable()
        .meta({ description: 'Set while instances are missing because they failed, so often in a row.' }),
    }),
    z.object({
      kind: z.literal('function'),
      ...base,
      runtimeIdentifier: z
        .string()
        .meta({ description: 'The runtime as it was submitted; `runtime` is what runs.' }),
      handler: z.string(),
      timeout: z.number().meta({ description: 'Seconds.' }),
      description: z.string(),
      url: z.boolean(),
      invokeMode: z.enum(urlInvokeModes).meta({ description: 'How answers are sent at its URL.' }),
      websocket: webSocketView.nullable(),
      reservedConcurrency: z.number().nullable(),
      revisionId: z.string(),
    }),
  ])
  .meta({ id: 'Workload' });

export function showWorkload(
  control: Pick<ControlPlane, 'restartOf' | 'unitKindOf'>,
  workload: Workload,
): z.infer<typeof workloadView> {
  const common = {
    tenant: workload.tenant,
    name: workload.name,
    runtime: workload.runtime,
    ...formatResources(workload.request),
    env: { ...workload.env },
    network: workload.network,
    unit: control.unitKindOf(workload),
    tags: { ...workload.tags },
    code: { sha256: workload.codeSha256, sizeBytes: workload.codeSizeBytes },
    generation: workload.generation,
    path: `/w/${workload.tenant}/${workload.name}/`,
    createdAt: showTime(workload.createdAtMs),
    modifiedAt: showTime(workload.modifiedAtMs),
  };
  if (workload.kind === 'app')
    return {
      kind: 'app',
      ...common,
      start: workload.start,
      scale: workload.scale,
      directHttp: workload.directHttp ?? false,
      restart: showRestart(control.restartOf(workload.key)),
    };
  return {
    kind: 'function',
    ...common,
    runtimeIdentifier: workload.runtimeIdentifier ?? workload.runtime,
    handler: workload.handler,
    timeout: workload.timeoutMs / 1_000,
    description: workload.description,
    url: workload.url,
    invokeMode: workload.invokeMode ?? 'BUFFERED',
    websocket: workload.websocket === undefined ? null : showWebSocket(workload.websocket),
    reservedConcurrency: workload.reservedConcurrency,
    revisionId: workload.revisionId,
  };
}

function showWebSocket({
  routes,
  routeResponses,
  routeSelectionExpression,
  idleTimeoutMs,
  maxDurationMs,
}: WebSocketSettings): z.infer<typeof webSocketView> {
  return {
    routes: [...routes],
    routeResponses: routeResponses === undefined ? null : [...routeResponses],
    routeSelectionExpression,
    idleTimeout: idleTimeoutMs === null ? null : idleTimeoutMs / 1_000,
    maxDuration: maxDurationMs === null ? null : maxDurationMs / 1_000,
  };
}

function showRestart(
  restart: AppRestart | null,
): { failures: number; reason: string; nextStartAt: string } | null {
  if (restart === null) return null;
  const { failures, reason, nextStartAtMs } = restart;
  return { failures, reason, nextStartAt: showTime(nextStartAtMs) };
}

export const movedWorkloadView = z
  .object({
    workload: z.string().meta({ description: 'TENANT/NAME.' }),
    from: z.enum(unitKinds),
    to: z.enum(unitKinds),
    durationMs: z.number().meta({ description: 'Until an instance served there.' }),
  })
  .meta({ id: 'MovedWorkload' });

export const logsView = z
  .object({
    entries: z.array(z.object({ time: timeView, instance: z.string(), line: z.string() })),
    cursor: z.string().meta({ description: 'Give it back to read on from here.' }),
  })
  .meta({ id: 'Logs' });

export function showLogs(logs: { entries: readonly LogEntry[]; cursor: string }): z.infer<typeof logsView> {
  const entries = logs.entries.map(({ timeMs, instance, line }) => ({
    time: showTime(timeMs),
    instance,
    line,
  }));
  return { entries, cursor: logs.cursor };
}
