import { z } from 'zod';
import { BellowsError } from '../../base/errors.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { Protocol } from '../../protocol/rpc.ts';
import { supervisorProtocol, type SupervisorProtocol } from '../../protocol/supervisor.ts';
import { layoutOf } from '../../sys/layout.ts';
import { command } from '../command.ts';
import { exitCode } from '../exit-code.ts';
import { CommandError } from '../failure.ts';

/** The supervisor is there or not: it is on this machine. */
const connectMs = 2_000;
/** Longer than the supervisor waits for some gateways one after the other (src/supervisor/upgrade.ts), also behind another upgrade. */
const upgradeMs = 300_000;

const nothingServed = { methods: {}, events: {} } satisfies Protocol;

export const upgrade = command({
  name: 'upgrade',
  summary: 'run the gateways anew from the code on the disk, with every connection kept',
  examples: ['bellows upgrade', 'npm install -g bellows && bellows upgrade'],
  args: z.object({}),
  handler: async (_, { installation, out, options }) => {
    const path = layoutOf(installation.dataDirectory).supervisorSocket;
    const connected = Promise.withResolvers<void>();
    const client = new RpcClient<typeof nothingServed, SupervisorProtocol>({
      socketPath: path,
      local: nothingServed,
      handlers: {},
      remote: supervisorProtocol,
      onConnect: () => Promise.resolve(connected.resolve()),
      onDefect: () => undefined,
    });
    const late = setTimeout(() => connected.reject(noSupervisor(installation.dataDirectory)), connectMs);
    try {
      await connected.promise;
      const upgraded = await client.call('upgrade', {}, { timeoutMs: upgradeMs });
      const [first] = upgraded;
      // One alone, as it is unless more are asked for, is told as one.
      if (options.json) out.json(upgraded.length === 1 ? first : upgraded);
      else
        for (const { pid, before, durationMs } of upgraded)
          out.line(
            before === null
              ? `Process ${pid} is the gateway since ${durationMs} ms after it was started; the one before had just ended.`
              : `Process ${pid} took over from ${before} in ${durationMs} ms. ${before} finishes what it carries, then it ends.`,
          );
      return exitCode.ok;
    } catch (thrown) {
      if (!(thrown instanceof BellowsError)) throw thrown;
      throw new CommandError(exitCode.failed, `${thrown.code}: ${thrown.message}`, thrown.hint, thrown.code);
    } finally {
      clearTimeout(late);
      client.close();
    }
  },
});

function noSupervisor(dataDirectory: string): CommandError {
  return new CommandError(
    exitCode.unreachable,
    `No \`bellows up\` runs on ${dataDirectory}.`,
    'Start it, or name its data directory: bellows upgrade --data-dir DIR',
  );
}
