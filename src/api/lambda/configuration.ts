// A function as the Lambda API shows it. Pure.
import { arch } from 'node:process';
import { mib } from '../../base/quantity.ts';
import { functionArn, latestVersion, logGroupOf } from '../../model/lambda.ts';
import type { Tenant } from '../../model/tenant.ts';
import type { FunctionWorkload } from '../../model/workload.ts';

/** Lambda's own form of a time: `2026-11-21T03:04:05.678+0000`. */
export function lambdaTime(timeMs: number): string {
  return new Date(timeMs).toISOString().replace('Z', '+0000');
}

export function base64OfHex(sha256: string): string {
  return Buffer.from(sha256, 'hex').toString('base64');
}

/**
 * Runtime is what was submitted, since tools that compare it with theirs would see a change for ever; Node 26 runs each
 * of them. Architectures says what really runs. State is always Active: a function that
 * was accepted can be invoked, its instances start when they are needed.
 */
export function functionConfiguration(
  { caller, region }: { readonly caller: Tenant; readonly region: string },
  workload: FunctionWorkload,
): Record<string, unknown> {
  return {
    FunctionName: workload.name,
    FunctionArn: functionArn(region, caller.accountId, workload.name),
    Runtime: workload.runtimeIdentifier ?? workload.runtime,
    Role: workload.role,
    Handler: workload.handler,
    CodeSize: workload.codeSizeBytes,
    Description: workload.description,
    Timeout: Math.round(workload.timeoutMs / 1_000),
    MemorySize: Math.round(workload.request.memory / mib),
    LastModified: lambdaTime(workload.modifiedAtMs),
    CodeSha256: base64OfHex(workload.codeSha256),
    Version: latestVersion,
    ...(Object.keys(workload.env).length === 0 ? {} : { Environment: { Variables: workload.env } }),
    TracingConfig: { Mode: 'PassThrough' },
    RevisionId: workload.revisionId,
    State: 'Active',
    LastUpdateStatus: 'Successful',
    PackageType: 'Zip',
    Architectures: [arch === 'arm64' ? 'arm64' : 'x86_64'],
    EphemeralStorage: { Size: Math.round(workload.request.storage / mib) },
    SnapStart: { ApplyOn: 'None', OptimizationStatus: 'Off' },
    LoggingConfig: { LogFormat: 'Text', LogGroup: logGroupOf(workload.name) },
  };
}
