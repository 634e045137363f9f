import { z } from 'zod';
import { gateways as gatewaysAnswer } from '../answers.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';

export const gateways = command({
  name: 'gateways',
  summary: 'list the processes that clients are connected to, those included that were replaced and leave',
  args: z.object({}),
  handler: async (_, { client, out, options }) => {
    const list = await client.call({ method: 'GET', path: '/v1/gateways' }, gatewaysAnswer);
    if (options.json) out.json(list);
    else
      out.table(
        ['GATEWAY', 'PID', 'STATE', 'CONNECTIONS'],
        list.map(({ gateway, pid, state, connections }) => [
          String(gateway),
          String(pid),
          state,
          connections === null ? '-' : String(connections),
        ]),
        'No gateway is connected to the controller.',
      );
    return exitCode.ok;
  },
});
