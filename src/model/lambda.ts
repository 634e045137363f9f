// How a workload is named in AWS's terms: region, ARN, log group. Pure.
import type { WorkloadName } from '../base/ids.ts';

/**
 * Callers of the Lambda API name a region with their signature, and any is taken: one Bellows answers for all of them. This
 * one is meant where nobody named one; it is the SDKs' oldest and commonest.
 */
export const defaultRegion = 'us-east-1';
/** The only version there is before versions are published. */
export const latestVersion = '$LATEST';

/** @param region the one that the caller signed for, or that the function was created in */
export function functionArn(region: string, accountId: string, name: WorkloadName): string {
  return `arn:aws:lambda:${region}:${accountId}:function:${name}`;
}

export function logGroupOf(name: WorkloadName): string {
  return `/aws/lambda/${name}`;
}
