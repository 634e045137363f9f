import { z } from 'zod';
import { units as unitsAnswer } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { shownBytes } from '../quantities.ts';

export const units = command({
  name: 'units',
  summary: 'list the units that instances run in, and what each has',
  args: z.object({}),
  handler: async (_, { client, out, options }) => {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, unitsAnswer);
    if (options.json) out.json(list);
    else
      out.table(
        [
          'UNIT',
          'DRIVER',
          'STATE',
          'INSTANCES',
          'MEMORY',
          'GRANTED',
          'USED',
          'CPU',
          'GRANTED',
          'CGROUP',
          'SANDBOX',
        ],
        list.map(({ id, driver, state, instances, provisioned, granted, used, capabilities }) => [
          id,
          driver,
          state,
          String(instances),
          shownBytes(provisioned.memory),
          shownBytes(granted.memory),
          shownBytes(used.memory),
          provisioned.cpu,
          granted.cpu,
          capabilities?.cgroup ?? '-',
          capabilities?.sandbox ?? '-',
        ]),
        'There is no unit.',
      );
    return exitCode.ok;
  },
});
