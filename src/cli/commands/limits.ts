import { z } from 'zod';
import { ledger as ledgerAnswer, tenant as tenantAnswer, transaction } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { usageError } from '../failure.ts';
import {
  changeFields,
  changeOptions,
  changeQuery,
  given,
  quantityOrNone,
  sizeOptions,
  tenantArgument,
} from '../fields.ts';
import { showTransaction } from '../transaction-text.ts';

const tenantWord = { name: '<tenant>', description: 'the tenant' };

const count = z
  .string()
  .regex(/^(?:none|\d{1,8})$/, 'expected a whole number, or none')
  .transform((text) => (text === 'none' ? null : Number(text)));

export const limitsGet = command({
  name: 'limits get',
  summary: 'show the most that a tenant may be allocated, and what is in use of it',
  arguments: [tenantWord],
  args: z.object({ tenant: tenantArgument }),
  handler: async ({ tenant }, { client, out, options }) => {
    const { limits, inUse } = await client.call(
      { method: 'GET', path: `/v1/tenants/${tenant}` },
      tenantAnswer,
    );
    if (options.json) {
      out.json(limits);
      return exitCode.ok;
    }
    const lines = await client.call({ method: 'GET', path: '/v1/ledger' }, ledgerAnswer);
    const used = new Map<string, string | number>(Object.entries(inUse ?? {}));
    for (const { resource, tenants } of lines) {
      const line = tenants.find((each) => each.tenant === tenant);
      if (line !== undefined) used.set(resource, line.used);
    }
    out.table(
      ['LIMIT', 'AMOUNT', 'IN USE'],
      Object.entries(limits).map(([name, amount]) => [
        name,
        amount === null ? 'none' : String(amount),
        String(used.get(name) ?? 'unknown'),
      ]),
      '',
    );
    return exitCode.ok;
  },
});

export const limitsSet = command({
  name: 'limits set',
  isDefault: true,
  summary: 'change the most that a tenant may be allocated, live',
  arguments: [tenantWord],
  options: [
    ...sizeOptions.map(({ flags, description }) => ({ flags, description: `${description}, or none` })),
    { flags: '--connections <number>', description: 'client connections open at once, or none' },
    { flags: '--concurrency <number>', description: 'invocations running at once, or none' },
    { flags: '--requests <number>', description: 'requests a second, or none' },
    ...changeOptions,
  ],
  examples: ['bellows limits set acme --memory 1GiB --cpu 2', 'bellows limits set acme --memory none'],
  args: z.object({
    tenant: tenantArgument,
    memory: quantityOrNone('memory').optional(),
    cpu: quantityOrNone('cpu').optional(),
    storage: quantityOrNone('storage').optional(),
    bandwidth: quantityOrNone('bandwidth').optional(),
    connections: count.optional(),
    concurrency: count.optional(),
    requests: count.optional(),
    ...changeFields,
  }),
  handler: async ({ tenant, plan, wait, ...limits }, ctx) => {
    const change = given(limits);
    if (Object.keys(change).length === 0)
      throw usageError(
        'No limit was named.',
        `Give at least one of --memory, --cpu, --storage, --bandwidth, --connections, --concurrency and --requests. \`bellows limits get ${tenant}\` shows them.`,
      );
    const answer = await ctx.client.call(
      {
        method: 'PUT',
        path: `/v1/tenants/${tenant}/limits${changeQuery({ plan, wait })}`,
        json: change,
        expected: [422],
      },
      transaction,
    );
    return showTransaction(answer, ctx);
  },
});
