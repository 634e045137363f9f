// Asks the agent to end every instance and to remove what it made: groups, mounts, sockets.
import { agentProtocol, type AgentProtocol } from '../protocol/agent.ts';
import { RpcClient } from '../protocol/rpc-client.ts';
import type { Protocol } from '../protocol/rpc.ts';

const nothingServed = { methods: {}, events: {} } satisfies Protocol;

/** What instances need beyond their grace: frozen ones are thawed, killed ones collected. */
const extraMs = 5_000;

/** @throws BellowsError Unavailable when the agent does not answer in time */
export async function shutDownAgent(socketPath: string, graceMs: number): Promise<void> {
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
    await client.call('shutdown', { graceMs }, { timeoutMs: graceMs + extraMs });
  } finally {
    client.close();
  }
}
