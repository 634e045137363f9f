import { z } from 'zod';
import { units as unitsAnswer } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { shownBytes } from '../quantities.ts';

const head = [
  'UNIT',
  'DRIVER',
  'STATE',
  'TENANT',
  'PID',
  'INSTANCES',
  'MEMORY',
  'CLAIMED',
  'GRANTED',
  'USED',
  'ON THE HOST',
  'STORAGE',
  'ON THE HOST',
  'CPU',
  'GRANTED',
];

export const units = command({
  name: 'units',
  summary: 'list the units that instances run in, what each has, and what it takes of the host',
  args: z.object({}),
  handler: async (_, { client, out, options }) => {
    const list = await client.call({ method: 'GET', path: '/v1/units' }, unitsAnswer);
    if (options.json) out.json(list);
    else
      out.table(
        head,
        list.map(({ id, driver, state, tenant, pid, instances, host, ...amounts }) => [
          id,
          driver,
          state,
          tenant ?? '-',
          pid === null ? '-' : String(pid),
          String(instances),
          shownBytes(amounts.provisioned.memory),
          shownBytes(amounts.claimed.memory),
          shownBytes(amounts.granted.memory),
          shownBytes(amounts.used.memory),
          host === null ? '-' : shownBytes(host.memory),
          shownBytes(amounts.provisioned.storage),
          host === null ? '-' : shownBytes(host.storage),
          amounts.provisioned.cpu,
          amounts.granted.cpu,
        ]),
        'There is no unit yet.',
      );
    return exitCode.ok;
  },
});
