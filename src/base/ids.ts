// Identities: branded strings, how they are made and which names are allowed. Pure but for randomness.
import { randomBytes } from 'node:crypto';
import type { Brand } from './brand.ts';
import { BellowsError } from './errors.ts';
import { showInput } from './show.ts';

export type TenantId = Brand<string, 'tenant'>;
export type WorkloadName = Brand<string, 'workload name'>;
export type InstanceId = Brand<string, 'instance'>;
export type UnitId = Brand<string, 'unit'>;
export type TransactionId = Brand<string, 'transaction'>;
/** `TENANT/NAME`: a workload among all tenants. */
export type WorkloadKey = Brand<string, 'workload key'>;

/** The unit that is this machine itself. */
export const hostUnitId = 'host' as UnitId;
export const defaultTenantId = 'default' as TenantId;

/** A DNS label, since a tenant stands in a host name: lower case, digits, hyphens, at most 40 characters. */
const tenantPattern = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;
/** Lambda's function names (letters, digits, - and _, at most 64), which stand in paths and, in lower case, in host names. */
const workloadPattern = /^[A-Za-z0-9_-]{1,64}$/;

/** @throws BellowsError InvalidName */
export function parseTenantId(input: unknown): TenantId {
  if (typeof input === 'string' && tenantPattern.test(input)) return input as TenantId;
  throw new BellowsError(
    'InvalidName',
    `${showInput(input, 80)} can not be a tenant's name.`,
    'Use lower-case letters, digits and hyphens, 1 to 40 of them, not beginning or ending with a hyphen.',
  );
}

/** @throws BellowsError InvalidName */
export function parseWorkloadName(input: unknown): WorkloadName {
  if (typeof input === 'string' && workloadPattern.test(input)) return input as WorkloadName;
  throw new BellowsError(
    'InvalidName',
    `${showInput(input, 80)} can not be a workload's name.`,
    'Use letters, digits, hyphens and underscores, 1 to 64 of them.',
  );
}

export function workloadKey(tenant: TenantId, name: WorkloadName): WorkloadKey {
  return `${tenant}/${name}` as WorkloadKey;
}

/** 60 random bits in base 32 without letters that look alike: short enough for paths, wide enough never to collide. */
function randomId(prefix: string): string {
  const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
  let id = prefix;
  for (const byte of randomBytes(12)) id += alphabet[byte & 31];
  return id;
}

export const newInstanceId = (): InstanceId => randomId('i-') as InstanceId;
export const newUnitId = (): UnitId => randomId('u-') as UnitId;
export const newTransactionId = (): TransactionId => randomId('t-') as TransactionId;
