import { z } from 'zod';
import { ledger as ledgerAnswer } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { shownBytes } from '../quantities.ts';

export const ledger = command({
  name: 'ledger',
  summary: 'show capacity, granted, used and claimed of each resource, and by whom',
  args: z.object({}),
  handler: async (_, { client, out, options }) => {
    const lines = await client.call({ method: 'GET', path: '/v1/ledger' }, ledgerAnswer);
    if (options.json) {
      out.json(lines);
      return exitCode.ok;
    }
    const rows = lines.flatMap(
      ({ resource, capacity, granted, used, claimed, unallocated, oversubscribed, tenants }) => {
        const show =
          resource === 'memory' || resource === 'storage' ? shownBytes : (text: string): string => text;
        return [
          [
            resource,
            'all',
            show(capacity),
            show(granted),
            show(used),
            show(claimed),
            show(unallocated),
            show(oversubscribed),
          ],
          ...tenants.map((tenant) => [
            '',
            tenant.tenant,
            tenant.limit === null ? 'no limit' : show(tenant.limit),
            show(tenant.granted),
            show(tenant.used),
            '',
            '',
            '',
          ]),
        ];
      },
    );
    out.table(
      [
        'RESOURCE',
        'WHOSE',
        'CAPACITY OR LIMIT',
        'GRANTED',
        'USED',
        'CLAIMED',
        'UNALLOCATED',
        'OVERSUBSCRIBED',
      ],
      rows,
      'There is nothing to account for.',
    );
    return exitCode.ok;
  },
});
