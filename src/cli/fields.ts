// Arguments that several commands share, read as the API reads them, so that a slip is told before anything is sent.
import { z } from 'zod';
import {
  defaultTenantId,
  parseTenantId,
  parseWorkloadName,
  type TenantId,
  type WorkloadName,
} from '../base/ids.ts';
import { parseResource, type ResourceKind } from '../model/resources.ts';
import { parsedField } from './command.ts';

export const tenantArgument = parsedField(parseTenantId);
export const nameArgument = parsedField(parseWorkloadName);
export const tenantOption = {
  flags: '--tenant <tenant>',
  description: `whose it is (default: ${defaultTenantId})`,
};

/** `NAME` or `TENANT/NAME`, with `--tenant` for the former. */
export interface WorkloadRef {
  readonly tenant: TenantId;
  readonly name: WorkloadName;
}

export const workloadArgument = {
  name: '<name>',
  description: 'the workload: NAME, or TENANT/NAME',
};

export const workloadFields = { name: z.string(), tenant: z.string().optional() };

export function toWorkload({
  name,
  tenant,
}: {
  readonly name: string;
  readonly tenant?: string | undefined;
}): WorkloadRef {
  const slash = name.indexOf('/');
  if (slash < 0) return { tenant: parseTenantId(tenant ?? defaultTenantId), name: parseWorkloadName(name) };
  return { tenant: parseTenantId(name.slice(0, slash)), name: parseWorkloadName(name.slice(slash + 1)) };
}

/** A quantity in notation: checked here, sent as it was written. */
export function quantity(kind: ResourceKind): z.ZodType<string, string> {
  return parsedField((input) => {
    parseResource(kind, input);
    return input;
  });
}

/** `none` takes a limit away. */
export function quantityOrNone(kind: ResourceKind): z.ZodType<string | null, string> {
  return parsedField((input) => {
    if (input === 'none') return null;
    parseResource(kind, input);
    return input;
  });
}

export const sizeFields = {
  memory: quantity('memory').optional(),
  cpu: quantity('cpu').optional(),
  storage: quantity('storage').optional(),
  bandwidth: quantity('bandwidth').optional(),
};

export const sizeOptions = [
  { flags: '--memory <quantity>', description: 'such as 256MiB' },
  { flags: '--cpu <quantity>', description: 'such as 0.5 or 500m' },
  { flags: '--storage <quantity>', description: 'such as 1GiB' },
  { flags: '--bandwidth <quantity>', description: 'such as 10MB/s' },
] as const;

export const changeFields = {
  plan: z.boolean().optional(),
  wait: z
    .string()
    .regex(/^\d{1,3}(\.\d{1,3})?$/, 'expected seconds, such as 5')
    .optional(),
};

export const changeOptions = [
  { flags: '--plan', description: 'only say what would be done' },
  { flags: '--wait <seconds>', description: 'wait so long for what is deferred, at most 300' },
] as const;

export function changeQuery({
  plan,
  wait,
}: {
  readonly plan?: boolean | undefined;
  readonly wait?: string | undefined;
}): string {
  const query = new URLSearchParams();
  if (plan === true) query.set('plan', 'true');
  if (wait !== undefined) query.set('wait', wait);
  return query.size === 0 ? '' : `?${query}`;
}

export function wholeNumber(least: number, most: number): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'expected a whole number')
    .transform(Number)
    .refine((count) => count >= least && count <= most, `must be from ${least} to ${most}`);
}

/** Only what was given: absent means "as it is". */
export function given<T extends Readonly<Record<string, unknown>>>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
