// How a workload is named in AWS's terms: region, ARN, log group. Pure.
import type { WorkloadName } from '../base/ids.ts';

/** One machine is one region. The SDKs demand that some region is named; this is their oldest and commonest default. */
export const awsRegion = 'us-east-1';
/** The only version there is before versions are published. */
export const latestVersion = '$LATEST';

export function functionArn(accountId: string, name: WorkloadName): string {
  return `arn:aws:lambda:${awsRegion}:${accountId}:function:${name}`;
}

export function logGroupOf(name: WorkloadName): string {
  return `/aws/lambda/${name}`;
}
