// The link to the agent of this machine: freezes idle function instances, thaws them, and has logged how invocations broke.
// Owns nothing else.
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import { agentProtocol, type AgentProtocol, type BrokenInvocation } from '../../protocol/agent.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { Protocol } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';

/** A thaw waits so long for an agent that restarts; a freeze is not worth waiting for. */
const thawTimeoutMs = 5_000;
const freezeTimeoutMs = 1_000;

/** The gateway serves the agent nothing. */
const noProtocol = { methods: {}, events: {} } satisfies Protocol;

export class AgentLink {
  readonly #client: RpcClient<typeof noProtocol, AgentProtocol>;
  readonly #log: Logger;
  #canFreeze = true;

  constructor(socketPath: string, log: Logger) {
    this.#log = log;
    this.#client = new RpcClient<typeof noProtocol, AgentProtocol>({
      socketPath,
      local: noProtocol,
      handlers: {},
      remote: agentProtocol,
      onConnect: async (peer) => {
        const { capabilities } = await peer.call('hello', {});
        this.#canFreeze = capabilities.freeze;
      },
      onDefect: (error, context) => log.error({ err: error, context }, 'agent link'),
    });
  }

  get connected(): boolean {
    return this.#client.connected;
  }

  async freeze(id: InstanceId): Promise<void> {
    if (!this.#canFreeze)
      throw new BellowsError('NotSupportedHere', 'This machine can not freeze instances.');
    await this.#client.call('freeze', { id }, { timeoutMs: freezeTimeoutMs });
  }

  async thaw(id: InstanceId): Promise<void> {
    await this.#client.call('thaw', { id }, { timeoutMs: thawTimeoutMs });
  }

  /** Nobody waits for it: an agent that is away for long costs the log these lines, and the caller nothing. */
  logBroken(id: InstanceId, invocation: BrokenInvocation): void {
    this.#client
      .call('logBroken', { id, invocation })
      .catch((error: unknown) =>
        this.#log.warn({ err: error, instance: id }, 'the end of an invocation is not in its log'),
      );
  }

  close(): void {
    this.#client.close();
  }
}
