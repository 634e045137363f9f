import { z } from 'zod';
import { defaultTenantId, parseWorkloadName } from '../../base/ids.ts';
import { command } from '../command.ts';
import { deployDirectory, nameOf } from '../deployment.ts';
import { exitCode } from '../exit-code.ts';
import { nameArgument, tenantArgument, tenantOption } from '../fields.ts';
import { usageError } from '../failure.ts';

export const deploy = command({
  name: 'deploy',
  summary: 'deploy the function or app in a directory',
  arguments: [{ name: '<directory>', description: 'what holds the code and bellows.json' }],
  options: [{ flags: '--name <name>', description: "its name (default: the directory's)" }, tenantOption],
  examples: ['bellows deploy examples/chat', 'bellows deploy . --name shop --tenant acme'],
  args: z.object({
    directory: z.string().min(1),
    name: nameArgument.optional(),
    tenant: tenantArgument.default(defaultTenantId),
  }),
  handler: async ({ directory, name, tenant }, { client, out, options }) => {
    const named = name ?? fitName(nameOf(directory));
    const { workload, url } = await deployDirectory(client, directory, { tenant, name: named }, (text) => {
      if (!options.json) out.note(text);
    });
    if (options.json) {
      out.json(workload);
      return exitCode.ok;
    }
    out.line(`Deployed ${tenant}/${named}.`);
    if (workload.kind === 'app' || workload['url'] === true) out.line(url);
    if ((workload['websocket'] ?? null) !== null) out.line(url.replace(/^http/, 'ws'));
    if (workload.kind === 'function')
      out.line(`bellows invoke ${tenant === defaultTenantId ? '' : `${tenant}/`}${named}`);
    return exitCode.ok;
  },
});

function fitName(name: string): ReturnType<typeof parseWorkloadName> {
  try {
    return parseWorkloadName(name);
  } catch {
    throw usageError(
      `The directory's name ${JSON.stringify(name)} can not be a workload's.`,
      'Give one: --name NAME',
    );
  }
}
