import { z } from 'zod';
import { tenant as tenantAnswer, tenants } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { given, quantity, tenantArgument } from '../fields.ts';

const tenantWord = { name: '<tenant>', description: 'lower-case letters, digits and hyphens' };

export const tenantsList = command({
  name: 'tenants list',
  isDefault: true,
  summary: 'list tenants and their limits',
  options: [
    { flags: '--metering', description: 'what each had, lent and borrowed of memory so far, in GiB-hours' },
  ],
  args: z.object({ metering: z.boolean().optional() }),
  handler: async ({ metering }, { client, out, options }) => {
    const list = await client.call({ method: 'GET', path: '/v1/tenants' }, tenants);
    if (options.json) out.json(list);
    else if (metering === true)
      out.table(
        ['TENANT', 'OWN', 'BORROWED', 'LENT', 'UNUSED', 'CREDIT'],
        list.map(({ id, metering: { own, borrowed, lent, unused, credit } }) => [
          id,
          ...[own, borrowed, lent, unused, credit].map(gibHours),
        ]),
        'There are no tenants.',
      );
    else
      out.table(
        [
          'TENANT',
          'WEIGHT',
          'MEMORY',
          'CPU',
          'STORAGE',
          'BANDWIDTH',
          'CONNECTIONS',
          'CONCURRENCY',
          'REQUESTS/S',
          'ACCESS KEY',
        ],
        list.map(({ id, weight, limits, inUse, accessKeyId }) => [
          id,
          String(weight),
          limits.memory ?? 'none',
          limits.cpu ?? 'none',
          limits.storage ?? 'none',
          limits.bandwidth ?? 'none',
          used(inUse?.connections, limits.connections),
          used(inUse?.concurrency, limits.concurrency),
          used(inUse?.requests, limits.requests),
          accessKeyId,
        ]),
        'There are no tenants.',
      );
    return exitCode.ok;
  },
});

function gibHours(byteSeconds: number): string {
  return (byteSeconds / 2 ** 30 / 3_600).toFixed(3);
}

/** What is in use, of how much; the limit alone while nobody can say. */
function used(now: number | undefined, limit: number | null): string {
  if (now === undefined) return limit === null ? 'none' : String(limit);
  return limit === null ? `${now}, no limit` : `${now} of ${limit}`;
}

export const tenantsCreate = command({
  name: 'tenants create',
  summary: 'make a tenant, or change its weight; prints the keys of a new one',
  arguments: [tenantWord],
  options: [
    { flags: '--memory <quantity>', description: 'the most it may be allocated, such as 1GiB' },
    { flags: '--cpu <quantity>', description: 'such as 2' },
    { flags: '--weight <number>', description: 'its share of what is scarce (default: 1)' },
  ],
  args: z.object({
    tenant: tenantArgument,
    memory: quantity('memory').optional(),
    cpu: quantity('cpu').optional(),
    weight: z
      .string()
      .regex(/^\d{1,5}(\.\d{1,3})?$/, 'expected a number, such as 2')
      .transform(Number)
      .optional(),
  }),
  handler: async ({ tenant, memory, cpu, weight }, { client, out, options }) => {
    const limits = given({ memory, cpu });
    const json = given({ weight, limits: Object.keys(limits).length === 0 ? undefined : limits });
    const answer = await client.call({ method: 'PUT', path: `/v1/tenants/${tenant}`, json }, tenantAnswer);
    if (options.json) out.json(answer);
    else if (answer.secretAccessKey === undefined) out.line(`Changed tenant ${tenant}.`);
    else {
      out.line(`Created tenant ${tenant}. Its keys, for the AWS tools (also in credentials.json):`);
      out.line(`AWS_ACCESS_KEY_ID=${answer.accessKeyId}`);
      out.line(`AWS_SECRET_ACCESS_KEY=${answer.secretAccessKey}`);
    }
    return exitCode.ok;
  },
});

export const tenantsDelete = command({
  name: 'tenants delete',
  summary: 'end what a tenant runs, and remove it with all it deployed',
  arguments: [tenantWord],
  args: z.object({ tenant: tenantArgument }),
  handler: async ({ tenant }, { client, out, options }) => {
    await client.call({ method: 'DELETE', path: `/v1/tenants/${tenant}` }, z.null());
    if (options.json) out.json({ deleted: tenant });
    else out.line(`Deleted tenant ${tenant}.`);
    return exitCode.ok;
  },
});
