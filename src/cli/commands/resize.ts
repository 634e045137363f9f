import { z } from 'zod';
import { transaction } from '../answers.ts';
import { command } from '../command.ts';
import { usageError } from '../failure.ts';
import {
  changeFields,
  changeOptions,
  changeQuery,
  given,
  sizeFields,
  sizeOptions,
  tenantOption,
  toWorkload,
  wholeNumber,
  workloadArgument,
  workloadFields,
} from '../fields.ts';
import { showTransaction } from '../transaction-text.ts';

export const resize = command({
  name: 'resize',
  summary: 'change what a workload may use, live: nothing restarts and no connection is dropped',
  arguments: [workloadArgument],
  options: [
    ...sizeOptions,
    { flags: '--scale <instances>', description: 'how many instances of an app run' },
    ...changeOptions,
    tenantOption,
  ],
  examples: ['bellows resize chat --memory 256MiB --cpu 0.5', 'bellows resize chat --memory 64MiB --plan'],
  args: z.object({
    ...workloadFields,
    ...sizeFields,
    ...changeFields,
    scale: wholeNumber(0, 1_000).optional(),
  }),
  handler: async ({ memory, cpu, storage, bandwidth, scale, plan, wait, ...ref }, ctx) => {
    const { tenant, name } = toWorkload(ref);
    const change = given({ memory, cpu, storage, bandwidth, scale });
    if (Object.keys(change).length === 0)
      throw usageError(
        'Nothing to change was named.',
        'Give at least one of --memory, --cpu, --storage, --bandwidth and --scale.',
      );
    const answer = await ctx.client.call(
      {
        method: 'PATCH',
        path: `/v1/workloads/${tenant}/${name}${changeQuery({ plan, wait })}`,
        json: change,
        expected: [422],
      },
      transaction,
    );
    return showTransaction(answer, ctx);
  },
});
