// Asks the agent to end every instance and to remove what it made: groups, mounts, sockets.
import { agentProtocol, type AgentProtocol } from '../protocol/agent.ts';
import { RpcClient } from '../protocol/rpc-client.ts';
import type { Caller, Protocol } from '../protocol/rpc.ts';

const nothingServed = { methods: {}, events: {} } satisfies Protocol;

/** What instances need beyond their grace: frozen ones are thawed, killed ones collected; on a busy machine seconds. */
const extraMs = 5_000;
/** And what they were in: the processes, disks and taps of machines, on a host with ten times more to do than processors. */
const shutDownExtraMs = 25_000;

/** @throws BellowsError Unavailable when the agent does not answer in time */
export async function shutDownAgent(socketPath: string, graceMs: number): Promise<void> {
  await withAgent(socketPath, (agent) =>
    agent.call('shutdown', { graceMs }, { timeoutMs: graceMs + shutDownExtraMs }),
  );
}

/** Ends every instance without grace, also those that a shutdown is just waiting for. @throws as above */
export async function endInstancesNow(socketPath: string): Promise<void> {
  await withAgent(socketPath, async (agent) => {
    const { instances } = await agent.call('list', {}, { timeoutMs: extraMs });
    const stop = { graceMs: 0, reason: 'Bellows was told to stop at once' };
    await Promise.all(
      instances.map(({ info }) => agent.call('stop', { id: info.id, ...stop }, { timeoutMs: extraMs })),
    );
  });
}

async function withAgent(
  socketPath: string,
  use: (agent: Caller<AgentProtocol>) => Promise<unknown>,
): Promise<void> {
  const client = new RpcClient<typeof nothingServed, AgentProtocol>({
    socketPath,
    local: nothingServed,
    handlers: {},
    remote: agentProtocol,
    onConnect: () => Promise.resolve(),
    // Events that are none of ours are validated all the same; what does not fit is the controller's to report.
    onDefect: () => undefined,
  });
  try {
    await use(client);
  } finally {
    client.close();
  }
}
