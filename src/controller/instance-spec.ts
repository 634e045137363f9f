// From a workload to what the agent needs to start one instance of it. Pure but for the new identity.
import { newInstanceId } from '../base/ids.ts';
import { mib } from '../base/quantity.ts';
import { defaultRegion, functionArn, latestVersion, logGroupOf } from '../model/lambda.ts';
import type { Tenant } from '../model/tenant.ts';
import type { UnitKind } from '../model/unit-kind.ts';
import type { Workload } from '../model/workload.ts';
import type { InstanceSpec } from '../protocol/agent.ts';
import type { Layout } from '../sys/layout.ts';
import { instanceEnv, logStreamOf } from './env.ts';

export interface SpecContext {
  readonly tenant: Tenant;
  readonly layout: Layout;
  readonly nowMs: number;
  /** Where this Bellows answers, as an instance reaches it. */
  readonly ownUrl: string;
  /** Where it is to run. */
  readonly unitKind: UnitKind;
}

export function newInstanceSpec(workload: Workload, context: SpecContext): InstanceSpec {
  const { tenant, nowMs, ownUrl, unitKind } = context;
  const id = newInstanceId();
  const logStream = logStreamOf(id, nowMs);
  const isFunction = workload.kind === 'function';
  return {
    id,
    tenant: workload.tenant,
    uid: tenant.uid,
    workload: workload.key,
    generation: workload.generation,
    unitKind,
    kind: workload.kind,
    runtime: workload.runtime,
    codeDirectory: context.layout.codeOf(workload.tenant, workload.codeSha256),
    handler: isFunction ? workload.handler : null,
    start: isFunction ? null : workload.start,
    timeoutMs: isFunction ? workload.timeoutMs : 0,
    env: instanceEnv(workload, { tenant, logStream, ownUrl }),
    network: workload.network,
    grant: workload.request,
    function: isFunction
      ? {
          name: workload.name,
          version: latestVersion,
          arn: functionArn(workload.region ?? defaultRegion, tenant.accountId, workload.name),
          memoryMb: Math.round(workload.request.memory / mib),
          logGroup: logGroupOf(workload.name),
          logStream,
        }
      : null,
  };
}
