// The link to the agent of this machine: freezes idle function instances, thaws them, and has logged how invocations broke.
// Owns nothing else.
import { setTimeout as sleep } from 'node:timers/promises';
import { BellowsError } from '../../base/errors.ts';
import type { InstanceId } from '../../base/ids.ts';
import type { ConnectionCounts } from '../../model/instance.ts';
import { agentProtocol, type AgentProtocol, type BrokenInvocation } from '../../protocol/agent.ts';
import { RpcClient } from '../../protocol/rpc-client.ts';
import type { Protocol } from '../../protocol/rpc.ts';
import type { Logger } from '../../sys/log.ts';
import type { AgentPatience } from '../config.ts';

/** What is told of a broken invocation is logged although nobody waits any more. */
const lateLogMs = 5_000;
const noTail = Buffer.alloc(0);

/** The gateway serves the agent nothing. */
const noProtocol = { methods: {}, events: {} } satisfies Protocol;

export class AgentLink {
  readonly #client: RpcClient<typeof noProtocol, AgentProtocol>;
  readonly #log: Logger;
  readonly #patience: AgentPatience;
  #canFreeze = true;

  /** @param onConnect an agent is there, perhaps a new one */
  constructor(socketPath: string, log: Logger, patience: AgentPatience, onConnect: () => void) {
    this.#log = log;
    this.#patience = patience;
    this.#client = new RpcClient<typeof noProtocol, AgentProtocol>({
      socketPath,
      local: noProtocol,
      handlers: {},
      remote: agentProtocol,
      onConnect: async (peer) => {
        const { capabilities } = await peer.call('hello', {});
        this.#canFreeze = capabilities.freeze;
        onConnect();
      },
      onDefect: (error, context) => log.error({ err: error, context }, 'agent link'),
    });
  }

  get connected(): boolean {
    return this.#client.connected;
  }

  /** @throws BellowsError Unavailable when it was asked for and is not known to be done; else the instance is surely awake */
  async freeze(id: InstanceId): Promise<void> {
    if (!this.#canFreeze)
      throw new BellowsError('NotSupportedHere', 'This machine can not freeze instances.');
    if (!this.#client.connected)
      throw new BellowsError('Conflict', 'There is no agent now that could freeze it.');
    await this.#client.call('freeze', { id }, { timeoutMs: this.#patience.freezeMs });
  }

  async thaw(id: InstanceId): Promise<void> {
    await this.#client.call('thaw', { id }, { timeoutMs: this.#patience.thawMs });
  }

  /**
   * Resolves with the log's tail of that invocation, empty when it did not come soon: an agent that is away for long costs
   * the log these lines, and the caller a moment.
   */
  async logBroken(id: InstanceId, invocation: BrokenInvocation): Promise<Buffer> {
    const { tailMs } = this.#patience;
    const timeoutMs = tailMs + lateLogMs;
    const logged = this.#client.call('logBroken', { id, invocation }, { timeoutMs }).then(
      ({ tail }) => Buffer.from(tail),
      (error: unknown) => {
        this.#log.warn({ err: error, instance: id }, 'the end of an invocation is not in its log');
        return noTail;
      },
    );
    const waiting = new AbortController();
    const late = sleep(tailMs, noTail, { signal: waiting.signal }).catch(() => noTail);
    try {
      return await Promise.race([logged, late]);
    } finally {
      waiting.abort();
    }
  }

  /** Not waited for: counts are told again at the next change, and to the next agent. @param beside as in the protocol */
  tunnels(id: InstanceId, counts: ConnectionCounts, beside: number[] | null): void {
    this.#client
      .call('tunnels', { id, gateway: process.pid, beside, counts })
      .catch((error: unknown) =>
        this.#log.warn({ err: error, instance: id }, 'the agent was not told of connections'),
      );
  }

  close(): void {
    this.#client.close();
  }
}
