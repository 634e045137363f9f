import { z } from 'zod';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { tenantOption, toWorkload, workloadArgument, workloadFields } from '../fields.ts';

export const deleteWorkload = command({
  name: 'delete',
  summary: 'end a workload and remove it',
  arguments: [workloadArgument],
  options: [tenantOption],
  args: z.object(workloadFields),
  handler: async (ref, { client, out, options }) => {
    const { tenant, name } = toWorkload(ref);
    await client.call({ method: 'DELETE', path: `/v1/workloads/${tenant}/${name}` }, z.null());
    if (options.json) out.json({ deleted: `${tenant}/${name}` });
    else out.line(`Deleted ${tenant}/${name}.`);
    return exitCode.ok;
  },
});
